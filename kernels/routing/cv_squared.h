#pragma once
// The squared coefficient of variation of how much each expert gets (Shazeer et al. 2017, eq. 7, 11):
//
//   CV^2 = variance / (mean^2 + 1e-10),  the population variance, over E experts
//   dCV^2 / dload[e] = (2 / E) * ((load[e] - mean) - CV^2 * mean) / (mean^2 + 1e-10)

#include <cstdint>
#include <span>

namespace moe::kernels::cpu {

// slope[e] = dCV^2 / dload[e]
template <class T>
double cv_squared(std::span<const double> load, T* slope) {
  const double experts = static_cast<double>(load.size());
  double mean = 0, variance = 0;
  for (const double x : load) mean += x / experts;
  for (const double x : load) variance += (x - mean) * (x - mean) / experts;
  const double scale = mean * mean + 1e-10, cv2 = variance / scale;
  for (const double x : load) *slope++ = static_cast<T>(2 / experts * (x - mean - cv2 * mean) / scale);
  return cv2;
}

}  // namespace moe::kernels::cpu
