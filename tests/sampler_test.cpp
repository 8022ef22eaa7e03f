#include "model/sampler.h"

#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"
#include "tests/catch.h"

using namespace moe;

namespace {

using Probabilities = std::vector<double>;
const std::vector<int32_t> kNothing;

// Logits whose softmax is exactly these shares, up to rounding.
std::vector<float> logits_of(const Probabilities& shares) {
  std::vector<float> logits;
  for (const double p : shares) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

void check_close(const Probabilities& got, const Probabilities& wanted) {
  REQUIRE(got.size() == wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i, got[i], wanted[i]);
    CHECK(std::abs(got[i] - wanted[i]) <= 1e-6);
    if (wanted[i] == 0) CHECK(got[i] == 0);  // left out means left out
  }
}

}  // namespace

TEST_CASE("without options a token's probability is the softmax of the logits", "[sampler]") {
  check_close(token_probabilities(logits_of({0.5, 0.2, 0.3}), kNothing, {}), {0.5, 0.2, 0.3});
  check_close(token_probabilities(std::vector<float>{7}, kNothing, {}), {1});
}

TEST_CASE("large and infinitely small logits do not overflow the softmax", "[sampler]") {
  const float low = -std::numeric_limits<float>::infinity();
  check_close(token_probabilities(std::vector<float>{3e38f, low, -3e38f}, kNothing, {}), {1, 0, 0});
  const std::vector<float> nan{0, NAN}, inf{0, INFINITY}, none{low, low};
  CHECK_THROWS_AS(token_probabilities(nan, kNothing, {}), Error);
  CHECK_THROWS_AS(token_probabilities(inf, kNothing, {}), Error);
  CHECK_THROWS_AS(token_probabilities(none, kNothing, {}), Error);
}

TEST_CASE("temperature divides the logits, and 0 takes the largest, the lower id first", "[sampler]") {
  SamplerConfig config;
  config.temperature = 0.5;  // squares the shares
  check_close(token_probabilities(logits_of({0.25, 0.75}), kNothing, config), {0.1, 0.9});
  config.temperature = 1e-300;
  check_close(token_probabilities(logits_of({0.25, 0.75}), kNothing, config), {0, 1});
  config.temperature = 0;
  check_close(token_probabilities(std::vector<float>{1, 2, 2, -1}, kNothing, config), {0, 1, 0, 0});
}

TEST_CASE("top-k keeps the k largest, of equal logits the lower ids", "[sampler]") {
  SamplerConfig config;
  config.top_k = 2;
  check_close(token_probabilities(logits_of({0.1, 0.2, 0.3, 0.4}), kNothing, config),
              {0, 0, 3.0 / 7, 4.0 / 7});
  check_close(token_probabilities(std::vector<float>{0, 5, 5, 5}, kNothing, config), {0, 0.5, 0.5, 0});
  config.top_k = 100;
  check_close(token_probabilities(logits_of({0.25, 0.75}), kNothing, config), {0.25, 0.75});
}

TEST_CASE("top-p keeps the fewest tokens that reach p, at least one", "[sampler]") {
  SamplerConfig config;
  const auto logits = logits_of({0.1, 0.4, 0.2, 0.3});
  config.top_p = 0.65;
  check_close(token_probabilities(logits, kNothing, config), {0, 4.0 / 7, 0, 3.0 / 7});
  config.top_p = 0.75;
  check_close(token_probabilities(logits, kNothing, config), {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
  config.top_p = 1e-9;
  check_close(token_probabilities(logits, kNothing, config), {0, 1, 0, 0});
  config.top_p = 0.5;  // acts on what top-k left: 4/7 alone reaches it
  config.top_k = 2;
  check_close(token_probabilities(logits, kNothing, config), {0, 1, 0, 0});
}

TEST_CASE("min-p keeps what is at least that share of the most probable token", "[sampler]") {
  SamplerConfig config;
  config.min_p = 0.6;
  check_close(token_probabilities(logits_of({0.1, 0.4, 0.2, 0.3}), kNothing, config),
              {0, 4.0 / 7, 0, 3.0 / 7});
  config.min_p = 1;
  check_close(token_probabilities(std::vector<float>{2, 1, 2}, kNothing, config), {0.5, 0, 0.5});
}

TEST_CASE("the repeat penalty divides positive and multiplies negative logits of recent tokens, once",
          "[sampler]") {
  SamplerConfig config;
  config.repeat_penalty = 2;
  const std::vector<float> logits{2, -1, 2, 0};
  const auto p = token_probabilities(logits, std::vector<int32_t>{0, 1, 1, 0, 3}, config);
  const double a = std::exp(1), b = std::exp(-2), c = std::exp(2), d = 1, sum = a + b + c + d;
  check_close(p, {a / sum, b / sum, c / sum, d / sum});
  config.temperature = 0;  // the penalty decides ties for greedy too
  check_close(token_probabilities(logits, std::vector<int32_t>{0}, config), {0, 0, 1, 0});
}

TEST_CASE("a token is picked by its share of the unit interval, and never one without any", "[sampler]") {
  const Probabilities p{0, 0.25, 0, 0.75, 0};
  CHECK(pick_token(p, 0.0) == 1);
  CHECK(pick_token(p, 0.2499) == 1);
  CHECK(pick_token(p, 0.25) == 3);
  CHECK(pick_token(p, 0.999999) == 3);
  CHECK(pick_token(Probabilities{0.1, 0.2, 0}, 0.9) == 1);  // a sum that falls short
  CHECK_THROWS_AS(pick_token(Probabilities{0, 0}, 0.5), Error);
}

TEST_CASE("many draws follow the distribution", "[sampler]") {
  const Probabilities shares{0.02, 0.5, 0.08, 0.3, 0.1};
  const auto logits = logits_of(shares);
  constexpr uint32_t kDraws = 20000;
  Probabilities count(shares.size());
  for (uint32_t step = 0; step < kDraws; ++step) {
    const auto id = sample_token(logits, kNothing, {}, {.seed = 5, .step = step, .stream = 9});
    ++count[static_cast<size_t>(id)];
  }
  // Pearson's statistic with 4 degrees of freedom passes 23.5 with probability 1e-4.
  double statistic = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    const double wanted = shares[i] * kDraws;
    statistic += (count[i] - wanted) * (count[i] - wanted) / wanted;
  }
  CHECK(statistic < 23.5);
}

TEST_CASE("a draw is a function of seed and position", "[sampler]") {
  CHECK(uniform_draw({1, 2, 3}) == uniform_draw({1, 2, 3}));
  CHECK(uniform_draw({1, 2, 3}) != uniform_draw({2, 2, 3}));
  CHECK(uniform_draw({1, 2, 3}) != uniform_draw({1, 3, 3}));
  CHECK(uniform_draw({1, 2, 3}) > 0);
}

TEST_CASE("a sampling option out of range is a usage error that names it", "[sampler]") {
  const auto refused = [](const char* option, double SamplerConfig::*field, double value) {
    SamplerConfig config;
    config.*field = value;
    try {
      config.validate();
      FAIL(option << " " << value << " was accepted");
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::usage);
      CHECK(std::string(e.what()).find(option) == 0);
    }
  };
  for (const double bad : {-1.0, double{NAN}, double{INFINITY}}) {
    refused("--temperature", &SamplerConfig::temperature, bad);
    refused("--top-p", &SamplerConfig::top_p, bad);
    refused("--min-p", &SamplerConfig::min_p, bad);
    refused("--repeat-penalty", &SamplerConfig::repeat_penalty, bad);
  }
  refused("--top-p", &SamplerConfig::top_p, 0);
  for (const double bad : {0.0, 1e-308, 9e-7, 1.1e6})
    refused("--repeat-penalty", &SamplerConfig::repeat_penalty, bad);
  SamplerConfig config;
  config.top_k = -1;
  CHECK_THROWS_AS(config.validate(), Error);
  CHECK_NOTHROW(SamplerConfig{}.validate());
}

TEST_CASE("no repeat penalty that is allowed makes a finite logit infinite", "[sampler]") {
  const float most = std::numeric_limits<float>::max();
  for (const double penalty : {1e-6, 1e6}) {
    SamplerConfig config;
    config.repeat_penalty = penalty;
    config.validate();
    CHECK_NOTHROW(
        token_probabilities(std::vector<float>{most, -most, 0}, std::vector<int32_t>{0, 1}, config));
  }
}
