#include "model/generate.h"

#include <algorithm>
#include <string>

#include "model/streams.h"
#include "tests/catch.h"
#include "tests/model_fixture.h"

using namespace moe;

namespace {

constexpr uint64_t kSeed = 21;

ModelConfig config_of(RouterKind router = RouterKind::noisy_topk, int64_t top_k = 2) {
  ModelConfig c = test::small_config();
  c.router = router;
  c.top_k = top_k;
  return c;
}

std::vector<int32_t> last(const std::vector<int32_t>& text, int64_t count) {
  return {text.end() - std::min(static_cast<int64_t>(text.size()), count), text.end()};
}

// The logits behind a window, computed at once.
std::vector<float> window_logits(const MoeLm& model, const std::vector<int32_t>& window, int64_t drawn) {
  ForwardOptions options;
  options.seed = kSeed;
  options.step = drawn;
  const Tensor tokens = Tensor::from<int32_t>(window, {1, static_cast<int64_t>(window.size())});
  const auto logits = test::infer_logits(model, tokens, options);
  return {logits.end() - model.config().vocab_size, logits.end()};
}

// Feeds `text`, writes `tokens` more, and compares each with what the whole window gives.
void check_against_windows(const ModelConfig& c, std::vector<int32_t> text, int64_t tokens,
                           const SamplerConfig& sampler = {}) {
  const MoeLm model(c, DType::f32, Device::cpu, false);
  model.initialise(3);
  Generator generator(model, sampler, kSeed);
  generator.feed(text);
  for (int64_t i = 0; i < tokens; ++i) {
    CAPTURE(i, text.size());
    const std::vector<int32_t> window = last(text, c.block_size);
    const std::vector<float> wanted = window_logits(model, window, i);
    REQUIRE(std::ranges::equal(generator.logits(), wanted));  // every bit
    text.push_back(sample_token(wanted, window, sampler, rng_address(kSeed, i, Draw::sample)));
    REQUIRE(generator.next() == text.back());
  }
}

}  // namespace

TEST_CASE("token by token gives what the whole window gives, before and after it slides", "[generate]") {
  const std::vector<int32_t> one{4}, several{1, 9, 0, 10}, full{1, 2, 3, 4, 5, 6},
      longer{5, 4, 3, 2, 1, 0, 10, 9, 8};
  for (const auto& prompt : {one, several, full, longer}) {
    check_against_windows(config_of(), prompt, 14);
    check_against_windows(config_of(RouterKind::topk, 1), prompt, 14);
  }
  ModelConfig shortest = config_of();
  shortest.block_size = 1;
  check_against_windows(shortest, one, 3);
}

TEST_CASE("a model that keeps its noise or capacity sees the whole window each time", "[generate]") {
  ModelConfig c = config_of();
  c.noise = When::always;
  check_against_windows(c, {4, 2}, 9);
  c = config_of();
  c.capacity_factor = 0.7;
  c.capacity_at = When::always;
  check_against_windows(c, {4, 2}, 9);
}

TEST_CASE("a prompt may come in pieces, and asking for logits changes nothing", "[generate]") {
  const MoeLm model(config_of(), DType::f32, Device::cpu, false);
  model.initialise(3);
  Generator whole(model, {}, kSeed), pieces(model, {}, kSeed);
  whole.feed(std::vector<int32_t>{1, 2, 3, 4});
  pieces.feed(std::vector<int32_t>{1});
  (void)pieces.logits();
  pieces.feed(std::vector<int32_t>{2, 3});
  (void)pieces.logits();
  pieces.feed(std::vector<int32_t>{4});
  for (int i = 0; i < 12; ++i) {
    (void)pieces.logits();
    REQUIRE(whole.next() == pieces.next());
  }
}

TEST_CASE("a seed gives its own text, and greedy ignores it", "[generate]") {
  const MoeLm model(config_of(), DType::f32, Device::cpu, false);
  model.initialise(3);
  const auto text = [&](const SamplerConfig& sampler, uint64_t seed) {
    Generator generator(model, sampler, seed);
    generator.feed(std::vector<int32_t>{1});
    std::vector<int32_t> tokens(30);
    for (int32_t& token : tokens) token = generator.next();
    return tokens;
  };
  const SamplerConfig greedy{.temperature = 0};
  CHECK(text({}, 1) == text({}, 1));
  CHECK(text({}, 1) != text({}, 2));
  CHECK(text(greedy, 1) == text(greedy, 2));
}

TEST_CASE("the repeat penalty acts on the tokens in the window", "[generate]") {
  check_against_windows(config_of(), {4, 2}, 20, {.repeat_penalty = 2.5});
}

TEST_CASE("nothing comes from nothing", "[generate]") {
  const MoeLm model(config_of(), DType::f32, Device::cpu, false);
  model.initialise(3);
  Generator generator(model, {}, kSeed);
  CHECK_THROWS_AS(generator.next(), Error);
  CHECK_THROWS_AS(Generator(model, SamplerConfig{.top_p = 2}, kSeed), Error);
}

TEST_CASE("a text without a prompt starts from a line break, or else the first symbol", "[generate]") {
  CHECK(default_prompt(CharTokenizer::from_text("\t\nab")) == std::vector<int32_t>{1});
  CHECK(default_prompt(CharTokenizer::from_text("abc")) == std::vector<int32_t>{0});
}
