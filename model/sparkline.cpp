#include "model/sparkline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace moe {
namespace {

// Means of the finite values of `count` stretches of equal length; NaN where there is none.
std::vector<double> stretch_means(std::span<const double> values, size_t count) {
  std::vector<double> means;
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * values.size() / count, end = (i + 1) * values.size() / count;
    double mean = 0;  // a running one: a sum could overflow
    int finite = 0;
    for (const double v : values.subspan(begin, end - begin)) {
      if (!std::isfinite(v)) continue;
      ++finite;
      mean += v / finite - mean / finite;
    }
    means.push_back(finite > 0 ? mean : std::numeric_limits<double>::quiet_NaN());
  }
  return means;
}

}  // namespace

std::string sparkline(std::span<const double> values, size_t width) {
  static constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::vector<double> means = stretch_means(values, std::min(width, values.size()));
  double low = INFINITY, high = -INFINITY;
  for (const double m : means) {
    if (std::isnan(m)) continue;
    low = std::min(low, m);
    high = std::max(high, m);
  }
  std::string line;
  for (const double m : means) {
    const double share = high > low ? (m / 2 - low / 2) / (high / 2 - low / 2) : 0;  // halves do not overflow
    line += std::isnan(m) ? " " : kBlocks[std::min<size_t>(7, static_cast<size_t>(8 * share))];
  }
  return line;
}

}  // namespace moe
