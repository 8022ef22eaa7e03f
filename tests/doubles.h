#pragma once
// Tensors of f64 from and to vectors.

#include <span>
#include <vector>

#include "core/tensor.h"

namespace moe::test {

inline Tensor doubles(const std::vector<double>& values, const Shape& shape) {
  return Tensor::from(std::span<const double>(values), shape);
}

inline std::vector<double> elements(const Tensor& t) {
  const auto s = t.span<double>();
  return {s.begin(), s.end()};
}

}  // namespace moe::test
