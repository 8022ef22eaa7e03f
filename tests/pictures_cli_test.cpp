// report, inspect_moe and generate --color-experts, from outside.

#include "model/checkpoint.h"
#include "model/routing_log.h"
#include "tests/markup.h"
#include "tests/model_fixture.h"
#include "tests/terminal.h"

using namespace moe;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kText = "the quick <brown> fox & the lazy dog\n",
                  kLast = "the lazy dog & the <brown> quick fox\n";

// A folder with the run of a model that was never trained.
struct Gallery : TempFolder {
  ModelConfig config = test::small_config();

  Gallery() {
    std::string text;
    for (int i = 0; i < 40; ++i) text += i < 36 ? kText : kLast;  // the last tenth validates
    std::ofstream(*this / "text.txt") << text;
    const CharTokenizer tokenizer = CharTokenizer::from_text(text);
    config.vocab_size = tokenizer.size();
    TrainConfig training;
    training.batch_size = 4;
    const MoeLm model(config);
    model.initialise(2);
    save_checkpoint(*this / "out", config, training, tokenizer, model.parameters(), {{"step", "3"}});
    RoutingStats stats;
    RoutingLog log(*this / "out/routing.jsonl", 0);
    std::ofstream metrics(*this / "out/metrics.jsonl");
    Arena arena(Device::cpu);
    for (int64_t step = 0; step < 3; ++step) {
      const Tensor tokens = test::token_batch(config, 4, config.block_size, step);
      Tape tape(arena, Mode::train);
      const LmOutput out = model.forward(tape, tokens, {});
      stats.observe(step, out.routing, tokens.span<int32_t>());
      log.append(stats.take());
      metrics << fmt::format("{{\"step\":{},\"loss\":{}}}\n", step, 3.5 - static_cast<double>(step));
    }
  }
};

}  // namespace

TEST_CASE("report draws a run with the model's own text, or the validation text when it is given",
          "[pictures]") {
  const Gallery gallery;
  const Result r = run(gallery, {"report"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(has(r.out, "out/report.html"));
  const std::string page = file_text(gallery / "out/report.html");
  CHECK(markup_fault(page, true).empty());
  CHECK(has(page, "A text that the model wrote"));
  CHECK(std::filesystem::exists(gallery / "out/report/load-layer-1.svg"));
  REQUIRE(run(gallery, {"report", "out", "--text", "text.txt"}).code == 0);
  const std::string second = file_text(gallery / "out/report.html");
  CHECK(has(second, "validation text of text.txt"));
  CHECK(markup_fault(second, true).empty());
  std::string wanted = "\"names\":[";
  for (const char c : kLast.substr(0, 12)) wanted += c == ' ' ? "\"␣\"," : fmt::format("\"{}\",", c);
  CHECK(has(second, wanted));
  CHECK(gallery.temporary_files() == 0);
}

TEST_CASE("report compares runs, and does without what is not there", "[pictures]") {
  const Gallery gallery;
  std::filesystem::create_directory(gallery / "other");
  std::ofstream(gallery / "other/metrics.jsonl") << "{\"step\":0,\"loss\":4}\n{\"step\":1,\"lo";
  const Result r = run(gallery, {"report", "other", "out"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  const std::string page = file_text(gallery / "other/report.html");
  CHECK(has(page, "other and 1 more"));
  CHECK(has(page, "other holds no model"));
  CHECK(has(page, "1 lines of metrics.jsonl in other could not be read"));
  CHECK(!std::filesystem::exists(gallery / "out/report.html"));
}

TEST_CASE("report refuses folders without a run, and texts of other characters", "[pictures]") {
  const Gallery gallery;
  std::filesystem::create_directory(gallery / "empty");
  std::ofstream(gallery / "other.txt") << "QUICK";
  for (const auto& [arguments, says] : {std::pair<Arguments, std::string>{{"report", "nowhere"}, "nowhere"},
                                        {{"report", "empty"}, "empty: there is no run in it"},
                                        {{"report", "out", "--text", "other.txt"}, "'Q'"}}) {
    const Result r = run(gallery, arguments);
    CHECK(r.code == 3);
    CHECK(has(r.err, says));
    CHECK(std::ranges::count(r.err, '\n') == 1);
  }
  CHECK(run(gallery, {"report", "--seed", "-1"}).code == 2);
}

TEST_CASE("a model that cannot be trusted still has its curves drawn, and the reason is told", "[pictures]") {
  const Gallery gallery;
  std::ofstream(gallery / "out/model.safetensors") << "no model";
  const Result r = run(gallery, {"report"});
  CHECK(r.code == 0);
  CHECK(has(r.err, "model.safetensors"));
  CHECK(has(file_text(gallery / "out/report.html"), "There is no routing map: "));
  CHECK(run(gallery, {"inspect_moe"}).code == 4);
  CHECK(run(gallery, {"inspect_moe", "nowhere"}).code == 4);
  std::filesystem::rename(gallery / "out", gallery / "\x1b[31mred");
  const Result red = run(gallery, {"report", "\x1b[31mred"});
  CHECK(red.err.starts_with("report:  [31mred/model.safetensors: "));
  CHECK(!has(red.err, "\x1b"));
}

TEST_CASE("inspect_moe says what a model is and how its experts fare", "[pictures]") {
  const Gallery gallery;
  const Result r = run(gallery, {"inspect_moe"});
  INFO(r.out << r.err);
  REQUIRE(r.code == 0);
  for (const char* part :
       {"2 layers of 4 experts, 2 for a token; width 8, 2 heads, context 6", "experts 4,416", "batch_size 4",
        "3 steps", "█▅▁  3.5000 … 1.5000", "config.json", "agrees with the checksum", "load of steps 2 to 2",
        "layer 1   entropy", "dropped 0.0 %", "load %", "norm"})
    CHECK(has(r.out, part));
  CHECK(!has(r.out, "\x1b"));
  std::filesystem::remove(gallery / "out/routing.jsonl");
  CHECK(has(run(gallery, {"inspect_moe", "out"}).out, "no routing.jsonl tells of their load"));
}

TEST_CASE("inspect_moe shows the checksums that were recorded, and says when there is none", "[pictures]") {
  const Gallery gallery;
  const Checkpoint c = load_checkpoint(gallery / "out");
  const std::string out = run(gallery, {"inspect_moe"}).out;
  for (const char* key : {"config_crc32c", "tokenizer_crc32c", "data_crc32c"})
    CHECK(has(out, "agrees with the checksum it was saved with, crc32c " + c.note(key)));
  std::vector<NamedTensor> tensors;
  for (const auto& e : c.weights.entries()) tensors.push_back({e.name, c.weights.tensor(e.name)});
  write_safetensors(gallery / "out/model.safetensors", tensors);
  const std::string other = run(gallery, {"inspect_moe"}).out;
  CHECK(has(other, "bytes  no checksum recorded"));
  CHECK(has(other, "bytes  its data agrees with"));  // such a file always has the one of its data
}

TEST_CASE("inspect_moe refuses the tensors that generate refuses, in the same words", "[pictures]") {
  const Gallery gallery;
  const Checkpoint c = load_checkpoint(gallery / "out");
  const std::string name = "blocks.1.moe.experts.up.weight";
  const Tensor right = c.weights.tensor(name);
  const Shape turned{right.size(0), right.size(2), right.size(1)};
  for (const Tensor& wrong :
       {Tensor::zeros(right.shape(), DType::bf16), right.reshape(turned),
        Tensor::zeros(right.shape(), DType::i32), Tensor::zeros(right.shape(), DType::f64)}) {
    std::vector<NamedTensor> tensors;
    for (const auto& e : c.weights.entries())
      tensors.push_back({e.name, e.name == name ? wrong : c.weights.tensor(e.name)});
    write_safetensors(gallery / "out/model.safetensors", tensors);
    const Result inspected = run(gallery, {"inspect_moe"}), generated = run(gallery, {"generate"});
    CHECK(inspected.code == 4);
    CHECK(generated.code == 4);
    CHECK(has(inspected.err,
              fmt::format("tensor \"{}\" is {} {}", name, name_of(wrong.dtype()), wrong.shape())));
    CHECK(inspected.err.substr(inspected.err.find(':')) == generated.err.substr(generated.err.find(':')));
    CHECK(inspected.out.empty());
  }
}

TEST_CASE("the experts' weight norms are those of their matrices", "[pictures]") {
  const Gallery gallery;
  const Checkpoint c = load_checkpoint(gallery / "out");
  double squares = 0;
  for (const char* part : {"up", "down"}) {
    const Tensor w = c.weights.tensor(fmt::format("blocks.1.moe.experts.{}.weight", part));
    const size_t each = w.span<float>().size() / 4;
    for (const float v : w.span<float>().subspan(2 * each, each))
      squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const std::string out = run(gallery, {"inspect_moe"}).out;
  const std::string norms = out.substr(out.rfind("norm"));
  CHECK(has(norms, fmt::format("{:.2f}", std::sqrt(squares))));
}

TEST_CASE("colours leave the text as it is, byte for byte", "[pictures]") {
  const Gallery gallery;
  for (const Arguments& more : {Arguments{}, Arguments{"--prompt", "the <brown>\nfox"}}) {
    Arguments a{"generate", "--tokens", "60"};
    a.insert(a.end(), more.begin(), more.end());
    const std::string plain = run(gallery, a).out;
    a.insert(a.end(), {"--color-experts", "always"});
    const std::string last = run(gallery, a).out;
    a.insert(a.end(), {"--color-layer", "1"});
    CHECK(run(gallery, a).out == last);
    a.back() = "0";
    const std::string first = run(gallery, a).out;
    CHECK(has(last, "\x1b[30;48;5;"));
    CHECK(without_escapes(last) == plain);
    CHECK(without_escapes(first) == plain);
    CHECK(first != last);
  }
  CHECK(run(gallery, {"generate", "--color-layer", "2"}).code == 2);
  CHECK(run(gallery, {"generate", "--color-experts", "green"}).code == 2);
}

TEST_CASE("colours are for terminals that want them unless they are asked for", "[pictures]") {
  const Gallery gallery;
  const auto on_terminal = [&](const std::string& no_color, const Arguments& how) {
    Arguments a{"generate", "--tokens", "20"};
    a.insert(a.end(), how.begin(), how.end());
    return has(run_on_terminal(gallery, a, no_color), "\x1b[30;48;5;");
  };
  CHECK(on_terminal("", {"--color-experts"}));
  CHECK(on_terminal("", {"--color-experts", "auto"}));
  CHECK(!on_terminal("1", {"--color-experts"}));
  CHECK(on_terminal("1", {"--color-experts", "always"}));
  CHECK(!on_terminal("", {}));
  CHECK(!has(run(gallery, {"generate", "--tokens", "20", "--color-experts"}).out, "\x1b"));
}
