#pragma once
// From the logits of one position to the next token. Pure functions: the same logits, settings and address
// give the same token.

#include <cstdint>
#include <span>
#include <vector>

#include "core/philox.h"

namespace moe {

// Applied in this order, that of Hugging Face's generate: each acts on what the one before has left.
struct SamplerConfig {
  // 1. A token among the recent ones has its logit divided by the penalty when positive, multiplied when
  //    negative (Keskar et al. 2019, as in llama.cpp). 1: off.
  double repeat_penalty = 1;
  // 2. Logits are divided by it. 0: the largest logit wins, and nothing below acts.
  double temperature = 1;
  // 3. Only the k largest stay. 0: off.
  int64_t top_k = 0;
  // 4. Only the fewest most probable tokens whose probabilities reach p stay (Holtzman et al. 2019). 1: off.
  double top_p = 1;
  // 5. Only tokens at least min_p times as probable as the most probable one stay. 0: off.
  double min_p = 0;

  // Throws ErrorKind::usage naming the option.
  void validate() const;
};

// The probability of every token, summing to 1. Of equal logits the lower id counts as the larger.
// `recent` are the tokens the penalty acts on. A logit may be -infinity, but NaN and +infinity are errors.
std::vector<double> token_probabilities(std::span<const float> logits, std::span<const int32_t> recent,
                                        const SamplerConfig& config);

// The token whose share of [0, 1) holds `u`, ids in rising order. Never one of probability 0.
int32_t pick_token(std::span<const double> probabilities, double u);

// Uniform in (0, 1), with 53 random bits: draw 0 of the stream.
double uniform_draw(const RngAddress& rng);

inline int32_t sample_token(std::span<const float> logits, std::span<const int32_t> recent,
                            const SamplerConfig& config, const RngAddress& rng) {
  return pick_token(token_probabilities(logits, recent, config), uniform_draw(rng));
}

}  // namespace moe
