// The model as a whole: its size, its gradients, and that a row depends on its own past alone.

#include <algorithm>
#include <set>

#include "autograd/gradcheck.h"
#include "tests/catch.h"
#include "tests/model_fixture.h"

using namespace moe;
using namespace moe::test;

TEST_CASE("the default model has the reference's 8,996,545 parameters, 2,674,369 active", "[model]") {
  ModelConfig c;
  c.vocab_size = 65;
  CHECK(c.parameters() == 8996545.0);
  CHECK(c.active_parameters() == 2674369.0);
  const MoeLm model(c, DType::f32, Device::meta);
  int64_t counted = 0;
  std::set<std::string> names;
  for (const Parameter& p : model.parameters()) {
    counted += p.value.numel();
    names.insert(p.name);
  }
  CHECK(counted == 8996545);
  CHECK(names.size() == model.parameters().size());
}

namespace {

// The loss of a fixed batch in double, with everything on that has a gradient.
struct Variant {
  const char* name;
  std::function<void(ModelConfig&)> change;
  AuxiliaryWeights weights;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"noisy top-k", [](ModelConfig&) {}, {}},
      {"plain top-k", [](ModelConfig& c) { c.router = RouterKind::topk; }, {}},
      {"k = 1, softmax over all experts", [](ModelConfig& c) { c.top_k = 1; }, {}},
      {"k = E", [](ModelConfig& c) { c.top_k = c.num_experts; }, {}},
      {"k = 3, softmax over all experts, SiLU, dropout",
       [](ModelConfig& c) {
         c.top_k = 3;
         c.gate_softmax = GatePolicy::all;
         c.activation = Activation::silu;
         c.dropout = 0.2;
       },
       {}},
      {"capacity below 1", [](ModelConfig& c) { c.capacity_factor = 0.6; }, {}},
      {"importance loss", [](ModelConfig&) {}, {0.5, 0, 0, 0}},
      {"load loss", [](ModelConfig&) {}, {0, 0.5, 0, 0}},
      {"balance loss", [](ModelConfig&) {}, {0, 0, 0.5, 0}},
      {"z-loss", [](ModelConfig& c) { c.router = RouterKind::topk; }, {0, 0, 0, 0.5}},
      {"all losses with capacity", [](ModelConfig& c) { c.capacity_factor = 0.8; }, {0.3, 0.2, 0.1, 0.05}},
  };
  return all;
}

}  // namespace

TEST_CASE("finite differences confirm the whole model's gradient with every router and loss",
          "[model][gradcheck]") {
  for (const Variant& variant : variants()) {
    DYNAMIC_SECTION(variant.name) {
      ModelConfig c = small_config();
      variant.change(c);
      const MoeLm model(c, DType::f64);
      model.initialise(3);
      const Tensor tokens = token_batch(c, 2, 5), targets = token_batch(c, 2, 5, 100);
      ForwardOptions options;
      options.seed = 17;
      const auto loss = [&](Tape& tape, std::span<const Var>) {  // the model holds the same parameters
        const LmOutput out = model.forward(tape, tokens, options);
        const Var ce = cross_entropy(tape, out.logits, targets.reshape({10}));
        const Var aux = auxiliary_loss(tape, out.routing, variant.weights);
        return aux.defined() ? add(tape, ce, aux) : ce;
      };
      // A smaller step than usual: far fewer chances to cross a kink of ReLU or a tie of the router.
      const GradcheckResult result = gradcheck(loss, model.parameters(), {.eps = 1e-6, .max_elements = 12});
      INFO(result.str());
      CHECK(result.ok);
    }
  }
}

TEST_CASE("every parameter of the model gets a gradient that is not zero", "[model]") {
  ModelConfig c = small_config();
  c.top_k = GENERATE(1, 2, 4);
  const MoeLm model(c);
  model.initialise(5);
  const Tensor tokens = token_batch(c, 8, 6), targets = token_batch(c, 8, 6, 50);
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const LmOutput out = model.forward(tape, tokens, {});
  tape.backward(cross_entropy(tape, out.logits, targets.reshape({48})));
  for (const Parameter& p : model.parameters()) {
    INFO(p.name);
    const auto g = p.grad.span<float>();
    CHECK(std::any_of(g.begin(), g.end(), [](float x) { return x != 0; }));
    CHECK(std::all_of(g.begin(), g.end(), [](float x) { return std::isfinite(x); }));
  }
}

TEST_CASE(
    "with k = 1 and the softmax over the selected logit the router gets no gradient, as in the reference",
    "[model]") {
  ModelConfig c = small_config();
  c.top_k = 1;
  c.gate_softmax = GatePolicy::selected;
  const MoeLm model(c);
  model.initialise(5);
  const Tensor tokens = token_batch(c, 4, 6);
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const LmOutput out = model.forward(tape, tokens, {});
  tape.backward(cross_entropy(tape, out.logits, tokens.reshape({24})));
  for (const float g : parameter(model, "blocks.0.moe.router.weight").grad.span<float>()) CHECK(g == 0);
}

TEST_CASE("a row's logits and routing do not depend on what else is in the batch", "[model][independence]") {
  ModelConfig c = small_config();
  c.dropout = 0.3;
  c.capacity_factor = 0.5;  // acts in training only
  const MoeLm model(c);
  model.initialise(9);
  const Tensor batch = token_batch(c, 5, 6);
  const std::vector<float> together = infer_logits(model, batch);
  for (int64_t b = 0; b < 5; ++b) {
    const std::vector<float> alone = infer_logits(model, batch.rows(b, b + 1));
    const auto row = std::span(together).subspan(static_cast<size_t>(b * 6 * c.vocab_size), alone.size());
    CHECK(std::equal(alone.begin(), alone.end(), row.begin()));
  }
}

TEST_CASE("with noise of zero and no dropout, training sees the logits of inference, bit for bit",
          "[model][independence]") {
  ModelConfig full;  // products large enough to be cut into tasks, and experts with many rows or few
  full.vocab_size = 65;
  full.n_layer = 2;
  full.dropout = 0;
  ModelConfig plain = small_config();
  plain.router = RouterKind::topk;
  for (const ModelConfig& c : {small_config(), plain, full}) {
    const MoeLm model(c);
    model.initialise(9);
    const Tensor batch = token_batch(c, 37, c.block_size);
    const std::vector<Tensor> silence(2, Tensor::zeros({batch.numel(), c.num_experts}, DType::f32));
    ForwardOptions options;
    if (c.router == RouterKind::noisy_topk) options.noise = silence;
    Arena arena(Device::cpu);
    Tape tape(arena, Mode::train);
    const LmOutput out = model.forward(tape, batch, options);
    const auto logits = out.logits.value().span<float>();
    for (const int64_t b : {0, 18, 36}) {
      const std::vector<float> alone = infer_logits(model, batch.rows(b, b + 1));
      CHECK(std::equal(alone.begin(), alone.end(), logits.begin() + b * c.block_size * c.vocab_size));
    }
  }
}

TEST_CASE("token by token with a cache, in pieces or at once: the same logits and the same experts",
          "[model][independence]") {
  const ModelConfig c = small_config();
  const MoeLm model(c);
  model.initialise(9);
  const Tensor sequence = token_batch(c, 1, 6);
  const auto run = [&](const std::vector<int64_t>& pieces) {
    std::vector<float> logits;
    std::vector<std::vector<int32_t>> experts(static_cast<size_t>(c.n_layer));
    KvCache cache(c, 1);
    int64_t at = 0;
    for (const int64_t n : pieces) {
      const Tensor piece = sequence.reshape({6, 1}).rows(at, at + n).reshape({1, n});
      at += n;
      Arena arena(Device::cpu);
      Tape tape(arena, Mode::infer);
      ForwardOptions options;
      options.cache = &cache;
      const LmOutput out = model.forward(tape, piece, options);
      const auto values = out.logits.value().span<float>();
      logits.insert(logits.end(), values.begin(), values.end());
      for (size_t l = 0; l < out.routing.size(); ++l) {
        const auto chosen = out.routing[l].router.gating.expert.span<int32_t>();
        experts[l].insert(experts[l].end(), chosen.begin(), chosen.end());
      }
    }
    return std::pair(logits, experts);
  };
  const auto whole = run({6});
  CHECK(whole.first == infer_logits(model, sequence));
  CHECK(run({1, 1, 1, 1, 1, 1}) == whole);
  CHECK(run({4, 2}) == whole);
}

TEST_CASE("the last position alone has the logits it has in the whole window", "[model][independence]") {
  const ModelConfig c = small_config();
  const MoeLm model(c);
  model.initialise(2);
  const Tensor window = token_batch(c, 1, 6);
  ForwardOptions last;
  last.last_only = true;
  const std::vector<float> all = infer_logits(model, window), one = infer_logits(model, window, last);
  REQUIRE(one.size() == static_cast<size_t>(c.vocab_size));
  CHECK(std::equal(one.begin(), one.end(), all.end() - static_cast<std::ptrdiff_t>(one.size())));
}

TEST_CASE("packed weights give the same logits, and are for products alone", "[model][independence]") {
  ModelConfig wide = small_config();  // whose weights can be packed, all but lm_head's
  wide.n_embed = 32;
  ModelConfig silu = wide;
  silu.activation = Activation::silu;
  for (const ModelConfig& c : {small_config(), wide, silu}) {
    const MoeLm model(c, DType::f32, Device::cpu, false);
    model.initialise(9);
    const Tensor many = token_batch(c, 37, c.block_size), one = token_batch(c, 1, 1);
    const std::vector<float> before = infer_logits(model, many), before_one = infer_logits(model, one);
    model.pack_weights();
    model.pack_weights();  // once is enough
    CHECK(infer_logits(model, many) == before);
    CHECK(infer_logits(model, one) == before_one);
  }
  const MoeLm model(wide, DType::f32, Device::cpu, false);
  model.initialise(9);
  model.pack_weights();
  for (const char* name : {"blocks.1.moe.experts.up.weight", "blocks.1.attn.qkv.weight"}) {
    const Tensor& weight = parameter(model, name).value;
    CHECK(weight.packed());
    CHECK_THROWS_AS(weight.data<float>(), Error);
    CHECK_THROWS_AS(weight.bytes_begin(), Error);
  }
  CHECK(!parameter(model, "lm_head.weight").value.packed());
  CHECK_THROWS_AS(MoeLm(wide).pack_weights(), Error);
}

TEST_CASE("a later token changes no earlier logit", "[model]") {
  const ModelConfig c = small_config();
  const MoeLm model(c);
  model.initialise(2);
  const Tensor a = token_batch(c, 1, 6), b = Tensor::from<int32_t>(a.span<int32_t>(), {1, 6});
  b.span<int32_t>()[4] = (b.span<int32_t>()[4] + 1) % static_cast<int32_t>(c.vocab_size);
  const std::vector<float> before = infer_logits(model, a), after = infer_logits(model, b);
  const auto seen = static_cast<std::ptrdiff_t>(4 * c.vocab_size);
  CHECK(std::equal(before.begin(), before.begin() + seen, after.begin()));
  CHECK_FALSE(std::equal(before.begin() + seen, before.end(), after.begin() + seen));
}

TEST_CASE("the switches for parity bring the reference's weaknesses back", "[model]") {
  ModelConfig c = small_config();
  c.noise = When::always;
  const MoeLm noisy(c);
  noisy.initialise(4);
  const Tensor tokens = token_batch(c, 2, 6);
  ForwardOptions first, second;
  first.seed = 1;
  second.seed = 2;
  CHECK(infer_logits(noisy, tokens, first) == infer_logits(noisy, tokens, first));
  CHECK(infer_logits(noisy, tokens, first) != infer_logits(noisy, tokens, second));

  c.noise = When::train;
  c.capacity_factor = 0.3;
  c.capacity_at = When::always;
  const MoeLm capped(c);
  capped.initialise(4);
  c.capacity_at = When::train;
  const MoeLm free(c);
  free.initialise(4);
  CHECK(infer_logits(capped, tokens) != infer_logits(free, tokens));
}

TEST_CASE("equal experts with equal gates are one dense feed-forward network", "[model]") {
  ModelConfig c = small_config();
  c.router = RouterKind::topk;
  c.top_k = 2;  // two equal gates of exactly one half
  MoeLm model(c, DType::f64);
  model.initialise(8);
  const int64_t C = c.n_embed, H = c.hidden();
  const std::string name = "blocks.0.moe.";
  for (const char* p : {"router.weight", "router.bias"}) parameter(model, name + p).value.fill_zero();
  for (const char* p : {"experts.up.weight", "experts.up.bias", "experts.down.weight", "experts.down.bias"}) {
    const Tensor stacked = parameter(model, name + p).value;
    for (int64_t e = 1; e < c.num_experts; ++e) stacked.rows(e, e + 1).copy_from(stacked.rows(0, 1));
  }
  const auto slice = [&](const char* p, const Shape& shape) {
    return Var::constant(parameter(model, name + p).value.rows(0, 1).reshape(shape), "one expert");
  };
  const Tensor x = Tensor::empty({7, C}, DType::f64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = std::sin(static_cast<double>(i));

  Arena arena(Device::cpu);
  Tape tape(arena, Mode::infer);
  MoeLayer layer;
  layer.router.logits = {parameter(model, name + "router.weight"), parameter(model, name + "router.bias")};
  layer.experts = {parameter(model, name + "experts.up.weight"), parameter(model, name + "experts.up.bias"),
                   parameter(model, name + "experts.down.weight"),
                   parameter(model, name + "experts.down.bias")};
  LayerRouting routing;
  const Var in = Var::constant(x, "test");
  const Var nothing = Var::constant(Tensor::zeros({7, C}, DType::f64), "test");
  const Var mixed = layer(tape, nothing, in, PassContext{c}, routing);
  const Var dense = linear(
      tape, relu(tape, linear(tape, in, slice("experts.up.weight", {H, C}), slice("experts.up.bias", {H}))),
      slice("experts.down.weight", {C, H}), slice("experts.down.bias", {C}));
  const auto a = mixed.value().span<double>(), b = dense.value().span<double>();
  CHECK(std::equal(a.begin(), a.end(), b.begin()));  // halves are exact, so the bits agree
  int64_t assignments = 0;
  for (const int32_t n : routing.plan.count.span<int32_t>()) assignments += n;
  CHECK(assignments == 7 * c.top_k);
}

TEST_CASE("initial weights follow the chosen distribution", "[model]") {
  ModelConfig c = small_config();
  c.n_embed = 64;
  c.n_head = 4;
  const auto deviation = [&](Init init, const std::string& name) {
    c.init = init;
    const MoeLm model(c, DType::f64);
    model.initialise(1);
    double sum = 0;
    const auto w = parameter(model, name).value.span<double>();
    for (const double x : w) sum += x * x;
    return std::sqrt(sum / static_cast<double>(w.size()));
  };
  CHECK(deviation(Init::kaiming, "blocks.1.moe.experts.up.weight") ==
        Approx(std::sqrt(2.0 / 64)).epsilon(0.02));
  CHECK(deviation(Init::kaiming, "blocks.1.moe.experts.down.weight") ==
        Approx(std::sqrt(2.0 / 256)).epsilon(0.02));
  CHECK(deviation(Init::xavier, "blocks.0.attn.proj.weight") == Approx(std::sqrt(2.0 / 128)).epsilon(0.05));
  CHECK(deviation(Init::xavier, "blocks.0.attn.qkv.weight") == Approx(std::sqrt(2.0 / 80)).epsilon(0.05));
  CHECK(deviation(Init::gpt2, "blocks.0.attn.qkv.weight") == Approx(0.02).epsilon(0.05));
  CHECK(deviation(Init::gpt2, "blocks.0.moe.experts.down.weight") == Approx(0.02 / 2).epsilon(0.02));
  CHECK(deviation(Init::kaiming, "lm_head.bias") == Approx(1 / 8.0 / std::sqrt(3.0)).epsilon(0.6));
  CHECK(deviation(Init::gpt2, "lm_head.bias") == 0);
}
