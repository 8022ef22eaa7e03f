#pragma once
// Many random numbers at once, for CPU kernels: the draws of core/philox.h, eight blocks of four at a time.

#include <cstdint>
#include <cstring>

#include "core/philox.h"
#include "kernels/drop_rule.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace moe::kernels {

namespace cpu {
namespace detail {

// Four blocks, a word of each in the lower half of a lane. What the rounds leave in the upper halves is never
// read: the multiplication takes lower halves only.
typedef uint64_t Words __attribute__((vector_size(32)));

inline Words multiply_low(Words a, uint64_t factor) {
#ifdef __AVX2__
  return reinterpret_cast<Words>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(static_cast<int64_t>(factor))));
#else
  return (a & 0xFFFFFFFFu) * factor;
#endif
}

inline constexpr int64_t kBatchBlocks = 8;
inline constexpr int64_t kBatchDraws = 4 * kBatchBlocks;

// Draws 4*block .. 4*block + kBatchDraws - 1.
inline void random_batch(const RngAddress& rng, uint64_t block, uint32_t* draws) {
  constexpr int kGroups = 2;  // independent chains, to fill the multiplier's latency
  const Words none{};
  Words a[kGroups], b[kGroups], c[kGroups], d[kGroups];
#pragma GCC unroll 2
  for (uint64_t g = 0; g < kGroups; ++g) {
    a[g] = Words{0, 1, 2, 3} + (block + 4 * g);
    b[g] = a[g] >> 32;
    c[g] = none + uint64_t{rng.stream};
    d[g] = none + uint64_t{rng.step};
  }
  uint32_t k0 = static_cast<uint32_t>(rng.seed), k1 = static_cast<uint32_t>(rng.seed >> 32);
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      const Words p0 = multiply_low(a[g], 0xD2511F53u), p1 = multiply_low(c[g], 0xCD9E8D57u);
      a[g] = (p1 >> 32) ^ b[g] ^ uint64_t { k0 };
      b[g] = p1;
      c[g] = (p0 >> 32) ^ d[g] ^ uint64_t { k1 };
      d[g] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g) {
    const Words ab = (a[g] & 0xFFFFFFFFu) | (b[g] << 32);
    const Words cd = (c[g] & 0xFFFFFFFFu) | (d[g] << 32);
    const Words blocks01 = __builtin_shufflevector(ab, cd, 0, 4, 1, 5);
    const Words blocks23 = __builtin_shufflevector(ab, cd, 2, 6, 3, 7);
    std::memcpy(draws + 16 * g, &blocks01, sizeof blocks01);
    std::memcpy(draws + 16 * g + 8, &blocks23, sizeof blocks23);
  }
}

}  // namespace detail

// Draws `first` .. first+n-1 of the stream; the result points to the first one. `memory` needs room for
// n + kDrawSlack: whole batches are written.
inline constexpr int64_t kDrawSlack = detail::kBatchDraws + 3;

inline const uint32_t* random_fill(const RngAddress& rng, uint64_t first, int64_t n, uint32_t* memory) {
  const int64_t skip = static_cast<int64_t>(first % 4);
  for (int64_t i = 0; i < skip + n; i += detail::kBatchDraws)
    detail::random_batch(rng, first / 4 + static_cast<uint64_t>(i / 4), memory + i);
  return memory + skip;
}

}  // namespace cpu
}  // namespace moe::kernels
