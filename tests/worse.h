#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace moe::test {

// The larger of two errors. NaN is larger than any number, which std::max does not say.
inline double worse(double most, double error) {
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(most, error);
}

}  // namespace moe::test
