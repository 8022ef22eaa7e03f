#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "model/streams.h"

namespace moe {
namespace {

// The logits after the penalty, in double.
std::vector<double> penalised(std::span<const float> logits, std::span<const int32_t> recent,
                              double penalty) {
  std::vector<double> h(logits.begin(), logits.end());
  if (penalty == 1) return h;
  std::vector<bool> seen(h.size());
  for (const int32_t id : recent) {
    const auto i = static_cast<size_t>(id);
    require(i < seen.size(), "sample: token {} among {} logits", id, seen.size());
    if (seen[i]) continue;
    seen[i] = true;
    h[i] = h[i] > 0 ? h[i] / penalty : h[i] * penalty;
  }
  return h;
}

}  // namespace

void SamplerConfig::validate() const {
  const auto check = [](bool ok, const char* option, const char* wanted, auto got) {
    if (!ok) throw error(ErrorKind::usage, "{} must be {}, got {}", option, wanted, got);
  };
  check(temperature >= 0 && std::isfinite(temperature), "--temperature", "a number from 0", temperature);
  check(top_k >= 0, "--top-k", "0 (off) or more", top_k);
  check(top_p > 0 && top_p <= 1, "--top-p", "above 0 and at most 1", top_p);
  check(min_p >= 0 && min_p <= 1, "--min-p", "from 0 to 1", min_p);
  // Within these bounds no logit becomes infinite.
  check(repeat_penalty >= 1e-6 && repeat_penalty <= 1e6, "--repeat-penalty", "from 1e-6 to 1e6",
        repeat_penalty);
}

std::vector<double> token_probabilities(std::span<const float> logits, std::span<const int32_t> recent,
                                        const SamplerConfig& config) {
  require(!logits.empty(), "sample: no logits");
  const std::vector<double> h = penalised(logits, recent, config.repeat_penalty);
  for (const double x : h)
    if (std::isnan(x) || x == INFINITY)
      throw error(ErrorKind::checkpoint, "a logit is {}; the model's weights are not usable", x);

  // order: ids from the most to the least probable. Only its first `kept` stay.
  std::vector<int32_t> order(h.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, [&](int32_t a, int32_t b) { return h[static_cast<size_t>(a)] > h[static_cast<size_t>(b)]; });
  const double largest = h[static_cast<size_t>(order[0])];
  require(largest > -INFINITY, "sample: all logits are -infinity");

  std::vector<double> p(h.size(), 0.0);
  if (config.temperature == 0) {
    p[static_cast<size_t>(order[0])] = 1;
    return p;
  }
  const auto weight = [&](size_t rank) {  // of the token at that rank, relative to the first
    return std::exp((h[static_cast<size_t>(order[rank])] - largest) / config.temperature);
  };
  size_t kept = order.size();
  if (config.top_k > 0) kept = std::min(kept, static_cast<size_t>(config.top_k));
  if (config.top_p < 1) {
    double total = 0, sum = 0;
    for (size_t i = 0; i < kept; ++i) total += weight(i);
    size_t reached = 0;
    while (reached < kept && sum < config.top_p * total) sum += weight(reached++);
    kept = reached;
  }
  while (kept > 1 && weight(kept - 1) < config.min_p) --kept;

  double total = 0;
  for (size_t i = 0; i < kept; ++i) total += weight(i);
  for (size_t i = 0; i < kept; ++i) p[static_cast<size_t>(order[i])] = weight(i) / total;
  return p;
}

int32_t pick_token(std::span<const double> probabilities, double u) {
  double sum = 0;
  int32_t last = -1;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (!(probabilities[i] > 0)) continue;
    sum += probabilities[i];
    last = static_cast<int32_t>(i);
    if (u < sum) return last;
  }
  require(last >= 0, "sample: all probabilities are 0");
  return last;  // the sum fell short of 1 by rounding
}

double uniform_draw(const RngAddress& rng) {
  return (static_cast<double>(random_u64(rng, 0) >> 11) + 0.5) * 0x1p-53;
}

}  // namespace moe
