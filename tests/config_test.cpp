#include "model/config.h"

#include <cmath>
#include <limits>
#include <string>

#include "model/json.h"
#include "tests/temp_folder.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

ModelConfig reference() {
  ModelConfig c;
  c.vocab_size = 65;
  return c;
}

template <class Change>
std::string model_error(Change change) {
  ModelConfig c = reference();
  change(c);
  return message_of(ErrorKind::usage, [&] { c.validate(); });
}

template <class Change>
std::string training_error(Change change) {
  ModelConfig model = reference();
  TrainConfig c;
  change(c, model);
  return message_of(ErrorKind::usage, [&] { c.validate(model); });
}

// Every field away from its default.
void change_all(ModelConfig& m, TrainConfig& t) {
  m.vocab_size = 99;
  const auto change = [](const char*, auto& value, const char*) {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_enum_v<T>)
      value = static_cast<T>(1);
    else if constexpr (std::is_same_v<T, bool>)
      value = !value;
    else
      value = value * 3 + T{1} / T{3} + T{1};
  };
  ModelConfig::fields(m, change);
  TrainConfig::fields(t, change);
}

}  // namespace

TEST_CASE("an option that would do nothing is refused to a new run, and the defaults never are", "[config]") {
  const auto why = [](auto&& change) {
    ModelConfig m = reference();
    TrainConfig t;
    change(m, t);
    CHECK_NOTHROW(m.validate());  // as a model that was trained so it is valid
    CHECK_NOTHROW(t.validate(m));
    return message_of(ErrorKind::usage, [&] { require_effect(m, t); });
  };
  using M = ModelConfig;
  using T = TrainConfig;
  CHECK_THAT(why([](M& m, T&) { m.router = RouterKind::topk, m.noise = When::always; }), Contains("--noise"));
  CHECK_THAT(why([](M& m, T&) { m.capacity_at = When::always; }), Contains("--capacity-at"));
  CHECK_THAT(why([](M&, T& t) { t.vocab_size = 300; }), Contains("--vocab-size 300"));
  ModelConfig m = reference();
  TrainConfig t;
  m.router = RouterKind::topk;
  CHECK_NOTHROW(require_effect(m, t));
  m.router = RouterKind::noisy_topk, m.noise = When::always;
  m.capacity_factor = 1, m.capacity_at = When::always;
  t.tokenizer = TokenizerKind::bpe, t.vocab_size = 300;
  CHECK_NOTHROW(require_effect(m, t));
}

TEST_CASE("the reference model has the reference's number of parameters", "[config]") {
  ModelConfig c = reference();
  CHECK(c.parameters() == 8'996'545);
  CHECK(c.active_parameters() == 2'674'369);
  c.router = RouterKind::topk;
  CHECK(c.parameters() == 8'996'545 - 8 * (128 * 8 + 8));
  c.top_k = c.num_experts;
  CHECK(c.active_parameters() == c.parameters());
}

TEST_CASE("the defaults are valid, before the vocabulary is known too", "[config]") {
  CHECK_NOTHROW(ModelConfig().validate());
  CHECK_NOTHROW(reference().validate());
  CHECK_NOTHROW(TrainConfig().validate(reference()));
}

TEST_CASE("training options that contradict each other are refused by their names", "[config]") {
  using T = TrainConfig&;
  using M = ModelConfig&;
  CHECK(training_error([](T t, M) { t.min_learning_rate = 1e-4; }) ==
        "--min-learning-rate 0.0001 needs --schedule linear, cosine or wsd");
  CHECK(training_error([](T t, M) {
          t.schedule = Schedule::cosine;
          t.min_learning_rate = 1;
        }) == "--min-learning-rate 1 is larger than --learning-rate 0.001");
  CHECK(training_error([](T t, M) { t.decay_iters = 5; }) == "--decay-iters 5 needs --schedule wsd");
  CHECK(training_error([](T t, M) { t.accumulate = 0; }) == "--accumulate 0 is smaller than 1");
  CHECK_THAT(training_error([](T t, M) { t.warmup_iters = -1; }), Contains("--warmup-iters"));
  CHECK_THAT(training_error([](T t, M) { t.patience = -1; }), Contains("--patience"));
  CHECK_THAT(training_error([](T t, M) { t.spike_zscore = -1; }), Contains("--spike-zscore"));
  CHECK_THAT(training_error([](T t, M) { t.max_skips = 0; }), Contains("--max-skips"));
  CHECK_THAT(training_error([](T t, M) { t.max_rewinds = -1; }), Contains("--max-rewinds"));
}

TEST_CASE("values that make no model are refused by the option's name", "[config]") {
  using M = ModelConfig&;
  CHECK(model_error([](M c) { c.top_k = 9; }) == "--top-k 9 is larger than --num-experts 8");
  CHECK(model_error([](M c) { c.n_head = 7; }) == "--n-embed 128 is not divisible by --n-head 7");
  CHECK(model_error([](M c) { c.block_size = 0; }) == "--block-size 0 is smaller than 1");
  CHECK(model_error([](M c) { c.n_embed = -128; }) == "--n-embed -128 is smaller than 1");
  CHECK_THAT(model_error([](M c) { c.n_head = 0; }), Contains("--n-head 0"));
  CHECK_THAT(model_error([](M c) { c.n_layer = 0; }), Contains("--n-layer 0"));
  CHECK_THAT(model_error([](M c) { c.n_layer = 4001; }), Contains("--n-layer 4001 is larger than 4000"));
  CHECK_THAT(model_error([](M c) { c.num_experts = 0; }), Contains("--num-experts 0"));
  CHECK_THAT(model_error([](M c) { c.top_k = 0; }), Contains("--top-k 0"));
  CHECK_THAT(model_error([](M c) { c.vocab_size = -1; }), Contains("-1"));
  for (const double bad : {-0.1, 1.0, 2.0, HUGE_VAL, std::nan("")})
    CHECK_THAT(model_error([&](M c) { c.dropout = bad; }), Contains("--dropout"));
  for (const double bad : {-0.1, HUGE_VAL, std::nan("")})
    CHECK_THAT(model_error([&](M c) { c.capacity_factor = bad; }), Contains("--capacity-factor"));
}

TEST_CASE("no extent can overflow", "[config]") {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  ModelConfig::fields(*std::make_unique<ModelConfig>(), [&](const char* name, auto& value, const char*) {
    if constexpr (std::is_same_v<decltype(value), int64_t&>) {
      for (const int64_t big : {kHuge, int64_t{1} << 31}) {
        INFO(name);
        ModelConfig c = reference();
        ModelConfig::fields(c, [&](const char* other, auto& v, const char*) {
          if constexpr (std::is_same_v<decltype(v), int64_t&>)
            if (std::string(other) == name) v = big;
        });
        CHECK_THROWS_AS(c.validate(), Error);
      }
    }
  });
  CHECK_THAT(model_error([](ModelConfig& c) { c.block_size = 1 << 30, c.top_k = 8; }), Contains("rows"));
  CHECK_THAT(model_error([](ModelConfig& c) { c.n_embed = 1 << 28, c.num_experts = 1 << 30; }),
             Contains("cannot be counted"));
}

TEST_CASE("training options that make no sense are refused by name", "[config]") {
  using T = TrainConfig&;
  using M = ModelConfig&;
  CHECK(training_error([](T c, M) { c.batch_size = 0; }) == "--batch-size 0 is smaller than 1");
  CHECK(training_error([](T c, M) { c.learning_rate = 0; }) == "--learning-rate 0 is not a number above 0");
  CHECK_THAT(training_error([](T c, M) { c.max_iters = -1; }), Contains("--max-iters"));
  CHECK_THAT(training_error([](T c, M) { c.eval_interval = 0; }), Contains("--eval-interval"));
  CHECK_THAT(training_error([](T c, M) { c.eval_iters = 0; }), Contains("--eval-iters"));
  CHECK_THAT(training_error([](T c, M) { c.seed = -1; }), Contains("--seed"));
  CHECK_THAT(training_error([](T c, M) { c.batch_size = 1 << 26; }), Contains("rows"));
  CHECK_THAT(training_error([](T c, M) { c.learning_rate = std::nan(""); }), Contains("--learning-rate"));
  CHECK_THAT(training_error([](T c, M) { c.weight_decay = -1; }), Contains("--weight-decay"));
  CHECK_THAT(training_error([](T c, M) { c.grad_clip = HUGE_VAL; }), Contains("--grad-clip"));
  CHECK_THAT(training_error([](T c, M) { c.importance_loss = -1; }), Contains("--importance-loss"));
  CHECK_THAT(training_error([](T c, M) { c.balance_loss = -1; }), Contains("--balance-loss"));
  CHECK_THAT(training_error([](T c, M) { c.z_loss = -1; }), Contains("--z-loss"));
  CHECK_THAT(training_error([](T c, M) { c.load_loss = -1; }), Contains("--load-loss"));
  CHECK_THAT(training_error([](T c, M m) { c.load_loss = 0.1, m.router = RouterKind::topk; }),
             Contains("--router noisy-topk"));
}

TEST_CASE("a single chosen expert is weighed against all, so that its router learns", "[config]") {
  ModelConfig c;
  CHECK(c.gate() == GateSoftmax::selected);
  c.top_k = 1;
  CHECK(c.gate() == GateSoftmax::all);
  c.gate_softmax = GatePolicy::selected;
  CHECK(c.gate() == GateSoftmax::selected);
  c.top_k = 2;
  c.gate_softmax = GatePolicy::all;
  CHECK(c.gate() == GateSoftmax::all);
}

TEST_CASE("the capacity is the reference's, in training only unless asked for", "[config]") {
  ModelConfig c;
  CHECK(c.capacity(512, Mode::train) == kNoCapacity);
  c.capacity_factor = 1;
  CHECK(c.capacity(512, Mode::train) == 128);
  CHECK(c.capacity(512, Mode::infer) == kNoCapacity);
  CHECK(c.capacity(3, Mode::train) == 0);
  c.capacity_at = When::always;
  CHECK(c.capacity(512, Mode::infer) == 128);
  c.capacity_factor = 1.3;
  CHECK(c.capacity(10, Mode::train) == 3);  // int(3.25)
  c.capacity_factor = 1e300;
  CHECK(c.capacity(10, Mode::train) == 10);
}

TEST_CASE("every field comes back from config.json", "[config]") {
  ModelConfig model, model_back;
  TrainConfig training, training_back;
  for (const bool defaults : {true, false}) {
    if (!defaults) change_all(model, training);
    const std::string text = to_json(model, training);
    from_json(text, "FILE", ErrorKind::checkpoint, model_back, training_back);
    CHECK(to_json(model_back, training_back) == text);
  }
  CHECK(model_back.vocab_size == 99);
  CHECK(model_back.top_k == 7);
  CHECK(model_back.dropout == model.dropout);
  CHECK(model_back.router == RouterKind::topk);
  CHECK(training_back.learning_rate == training.learning_rate);
  CHECK(training_back.seed == 1337 * 3 + 1);
}

TEST_CASE("a config.json that is not one is refused with the key", "[config]") {
  const auto good = nlohmann::json::parse(to_json(reference(), TrainConfig()));
  ModelConfig model;
  TrainConfig training;
  const auto why = [&](auto&& change) {
    nlohmann::json j = good;
    change(j);
    const ModelConfig before = model;
    const std::string message = message_of(
        ErrorKind::checkpoint, [&] { from_json(j.dump(), "FILE", ErrorKind::checkpoint, model, training); });
    CHECK(to_json(model, training) == to_json(before, training));
    return message;
  };
  using J = nlohmann::json&;
  CHECK(why([](J j) { j["model"].erase("n_embed"); }) == R"(FILE: "model" lacks the key "n_embed")");
  CHECK(why([](J j) { j["model"]["n_embd"] = 1; }) == R"(FILE: "model" has the unknown key "n_embd")");
  CHECK(why([](J j) { j["model"]["n_embed"] = 8.5; }) ==
        R"(FILE: "n_embed" in "model" must be an integer of 64 bits)");
  CHECK(why([](J j) { j["model"]["router"] = "softmax"; }) ==
        R"(FILE: "router" in "model" must be one of noisy-topk, topk)");
  CHECK_THAT(why([](J j) { j["model"]["router"] = 1; }), Contains("must be one of"));
  CHECK_THAT(why([](J j) { j["model"]["n_embed"] = uint64_t{1} << 63; }), Contains("an integer of 64 bits"));
  CHECK_THAT(why([](J j) { j["model"]["n_embed"] = "8"; }), Contains("an integer of 64 bits"));
  CHECK_THAT(why([](J j) { j["model"]["dropout"] = "0"; }), Contains("must be a number"));
  CHECK_THAT(why([](J j) { j["model"].erase("vocab_size"); }), Contains("vocab_size"));
  CHECK_THAT(why([](J j) { j["training"]["x"] = 1; }), Contains(R"("training" has the unknown key "x")"));
  CHECK_THAT(why([](J j) { j["x"] = 1; }), Contains(R"(the file has the unknown key "x")"));
  CHECK_THAT(why([](J j) { j["version"] = 2; }), Contains("version 2"));
  CHECK_THAT(why([](J j) { j["format"] = "other"; }), Contains(R"(format "other")"));
  CHECK_THAT(why([](J j) { j["model"] = 1; }), Contains("must be an object"));
  CHECK_THAT(why([](J j) { j = nlohmann::json::array(); }), Contains("must be an object"));
  CHECK_THAT(message_of(ErrorKind::usage, [&] { from_json("{", "FILE", ErrorKind::usage, model, training); }),
             Contains("FILE: no valid JSON"));
}

TEST_CASE("training options that config.json leaves out keep their defaults", "[config]") {
  auto j = nlohmann::json::parse(to_json(reference(), TrainConfig()));
  j["training"] = {{"seed", 5}};
  ModelConfig model;
  TrainConfig training;
  training.batch_size = 3;
  from_json(j.dump(), "FILE", ErrorKind::checkpoint, model, training);
  CHECK(training.seed == 5);
  CHECK(training.batch_size == 16);
  j.erase("training");
  from_json(j.dump(), "FILE", ErrorKind::checkpoint, model, training);
  CHECK(training.seed == 1337);
}
