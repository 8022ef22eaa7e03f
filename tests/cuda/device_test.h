#pragma once
// For tests of kernels::cuda functions: the same call on the CPU and on the GPU.

#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "core/philox.h"
#include "core/tensor.h"
#include "tests/catch.h"
#include "tests/in_precision.h"
#include "tests/op_run.h"

namespace moe::test {

template <class T>
Tensor on_gpu(const std::vector<T>& values) {
  return Tensor::from(std::span<const T>(values), {static_cast<int64_t>(values.size())}).to(Device::cuda);
}

// `n` elements that a kernel is to write: all bits set, so NaN or -1.
template <class T>
Tensor unwritten(int64_t n) {
  return on_gpu(std::vector<T>(static_cast<size_t>(n), [] {
    T x;
    std::memset(&x, 0xFF, sizeof x);
    return x;
  }()));
}

template <class T>
std::vector<T> values_of(const Tensor& t) {
  const Tensor host = t.to(Device::cpu);
  const auto s = host.span<T>();
  return {s.begin(), s.end()};
}

inline std::vector<float> normals(int64_t n, uint32_t stream) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(random_normal({.seed = 31, .step = 0, .stream = stream}, i));
  return values;
}

inline std::vector<int32_t> below(int32_t limit, int64_t n, uint32_t stream) {
  std::vector<int32_t> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<int32_t>(random_u32({.seed = 32, .step = 0, .stream = stream}, i) %
                                     static_cast<uint32_t>(limit));
  return values;
}

// Rounded to few bits, which tf32 and bf16 hold exactly.
inline std::vector<float> coarse(std::vector<float> values) {
  for (float& v : values) v = std::round(v * 16) / 16;
  return values;
}

// A few roundings of sums of a few thousand terms.
inline constexpr double kClose = 2e-5;

// The bytes of a structure as whole numbers, for a tensor to hold.
template <class T>
std::vector<int64_t> words_of(const T& value) {
  static_assert(sizeof(T) % sizeof(int64_t) == 0);
  std::vector<int64_t> words(sizeof(T) / sizeof(int64_t));
  std::memcpy(words.data(), &value, sizeof value);
  return words;
}

// The largest |a - b| over the largest |b|; infinite for a NaN on one side.
inline double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  const double size = largest(b);
  return size > 0 ? difference(a, b) / size : difference(a, b);
}

}  // namespace moe::test
