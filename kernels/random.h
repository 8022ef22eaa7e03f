#pragma once
// Many random numbers at once, for CPU kernels: the draws of core/philox.h, sixteen blocks of four at a time.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/philox.h"
#include "kernels/drop_rule.h"
#include "kernels/math.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace moe::kernels {

namespace cpu {
namespace detail {

// As many blocks as a register has lanes of 64 bits, a word of each in the lower half of its lane. What the
// rounds leave in the upper halves is never read: the multiplication takes lower halves only.
inline constexpr int kWordLanes = kNativeLanes / 2;
typedef uint64_t Words __attribute__((vector_size(8 * kWordLanes)));

inline Words multiply_low(Words a, uint64_t factor) {
#if defined(__AVX512F__)
  // Unmasked under this mask; the plain one makes GCC 12 warn of its own header.
  return reinterpret_cast<Words>(_mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a),
                                                        _mm512_set1_epi64(static_cast<int64_t>(factor))));
#elif defined(__AVX2__)
  return reinterpret_cast<Words>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(static_cast<int64_t>(factor))));
#elif defined(__SSE2__)
  return reinterpret_cast<Words>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a), _mm_set1_epi64x(static_cast<int64_t>(factor))));
#else
  return (a & 0xFFFFFFFFu) * factor;
#endif
}

// Sixteen blocks, in independent chains that fill the multiplier's latency.
inline constexpr int kBatchBlocks = 16;
inline constexpr int kGroups = kBatchBlocks / kWordLanes;

// The words of the blocks; before, a and b hold the lower and the upper half of their numbers.
struct Batch {
  Words a[kGroups], b[kGroups], c[kGroups], d[kGroups];

  void run(const RngAddress& rng) {
    const Words none{};
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      c[g] = none + uint64_t{rng.stream};
      d[g] = none + uint64_t{rng.step};
    }
    uint32_t k0 = static_cast<uint32_t>(rng.seed), k1 = static_cast<uint32_t>(rng.seed >> 32);
    for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 8
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
  }
};

// Lane i of the first half of x, then of y, for i = 0, 1, ...; and of their second halves.
template <int... I>
void interleave(Words x, Words y, uint32_t* to, std::integer_sequence<int, I...>) {
  const Words first = __builtin_shufflevector(x, y, (I / 2 + I % 2 * kWordLanes)...);
  const Words second = __builtin_shufflevector(x, y, (kWordLanes / 2 + I / 2 + I % 2 * kWordLanes)...);
  std::memcpy(to, &first, sizeof first);
  std::memcpy(to + 2 * kWordLanes, &second, sizeof second);
}

inline constexpr int64_t kBatchDraws = 4 * kBatchBlocks;

// Draws 4*block .. 4*block + kBatchDraws - 1.
inline void random_batch(const RngAddress& rng, uint64_t block, uint32_t* draws) {
  constexpr auto kLanes = std::make_integer_sequence<int, kWordLanes>();
  Batch batch;
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    Words lane{};
#pragma GCC unroll 8
    for (int l = 0; l < kWordLanes; ++l) lane[l] = static_cast<uint64_t>(l);
    batch.a[g] = lane + (block + static_cast<uint64_t>(g * kWordLanes));
    batch.b[g] = batch.a[g] >> 32;
  }
  batch.run(rng);
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g)
    interleave((batch.a[g] & 0xFFFFFFFFu) | (batch.b[g] << 32),
               (batch.c[g] & 0xFFFFFFFFu) | (batch.d[g] << 32), draws + 4 * g * kWordLanes, kLanes);
}

// body(i, block) for the batches that hold draws `first` .. first+n-1: the first draw of each is draw first +
// i, where i begins at 0 or, when `first` is inside a block, up to 3 below.
template <class Body>
void for_each_batch(uint64_t first, int64_t n, Body body) {
  uint64_t block = first / 4;
  for (int64_t i = -static_cast<int64_t>(first % 4); i < n; i += kBatchDraws, block += kBatchBlocks)
    body(i, block);
}

}  // namespace detail

// Draws `first` .. first+n-1 of the stream; the result points to the first one. `memory` needs room for
// n + kDrawSlack: whole batches are written.
inline constexpr int64_t kDrawSlack = detail::kBatchDraws + 3;

inline const uint32_t* random_fill(const RngAddress& rng, uint64_t first, int64_t n, uint32_t* memory) {
  uint32_t* const draws = memory + first % 4;
  detail::for_each_batch(first, n,
                         [&](int64_t i, uint64_t block) { detail::random_batch(rng, block, draws + i); });
  return draws;
}

namespace detail {

typedef uint64_t Bits __attribute__((vector_size(8 * kLanes)));

// Integers below 2^52.
inline Vec<double> to_doubles(Bits u) {
  return std::bit_cast<Vec<double>>(u | std::bit_cast<uint64_t>(0x1p52)) - 0x1p52;
}

// x[0] + x[1] z + x[2] z^2 + ...
template <size_t N>
[[gnu::always_inline]] inline Vec<double> polynomial(const double (&x)[N], Vec<double> z) {
  Vec<double> p = broadcast(x[N - 1]);
  for (size_t i = N - 1; i-- > 0;) p = fma(p, z, broadcast(x[i]));
  return p;
}

// log x of normal numbers in [2^-60, 1], to two units in the last place. x = m 2^e with m in
// [sqrt(1/2), sqrt(2)); log m = 2 artanh(s) with s = (m-1) / (m+1), |s| < 0.172, by its series as far as
// s^21.
inline Vec<double> log_of_uniform(Vec<double> x) {
  constexpr uint64_t kRootHalf = 0x3FE6A09E667F3BCD,
                     kShift = uint64_t{64} << 52;  // no exponent is negative then
  const Bits bits = std::bit_cast<Bits>(x), exponent = (bits - kRootHalf + kShift) >> 52;
  const Vec<double> m = std::bit_cast<Vec<double>>(bits - ((exponent - 64) << 52)),
                    e = to_doubles(exponent) - 64.0;
  const Vec<double> s = (m - 1.0) / (m + 1.0);
  constexpr double kSeries[] = {2.0,      2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9, 2.0 / 11,
                                2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
  return fma(e, broadcast(0.693147180559945309417), s * polynomial(kSeries, s * s));
}

// to_normals of core/philox.h for the lower and the upper halves of eight words. The angle is u1 quarters of
// a turn in 30 bits: the nearest whole number of quarters, and a rest of at most an eighth of a turn whose
// sine and cosine their series give, as far as x^17 and x^18.
inline void to_normals(Bits words, Vec<double>& n0, Vec<double>& n1) {
  const Bits u0 = words & 0xFFFFFFFFu, u1 = words >> 32;
  const Vec<double> radius = sqrt(-2.0 * log_of_uniform((to_doubles(u0) + 0.5) * 0x1p-32));
  const Bits quarter = (u1 + (uint64_t{1} << 29)) >> 30;
  const Vec<double> x = (to_doubles(u1) - to_doubles(quarter) * 0x1p30) * (6.283185307179586476925 * 0x1p-32);
  constexpr double kSine[] = {1.0,
                              -1.0 / 6,
                              1.0 / 120,
                              -1.0 / 5040,
                              1.0 / 362880,
                              -1.0 / 39916800,
                              1.0 / 6227020800,
                              -1.0 / 1307674368000,
                              1.0 / 355687428096000};
  constexpr double kCosine[] = {1.0,
                                -1.0 / 2,
                                1.0 / 24,
                                -1.0 / 720,
                                1.0 / 40320,
                                -1.0 / 3628800,
                                1.0 / 479001600,
                                -1.0 / 87178291200,
                                1.0 / 20922789888000,
                                -1.0 / 6402373705728000};
  const Vec<double> sine = x * polynomial(kSine, x * x), cosine = polynomial(kCosine, x * x);
  const auto odd = (quarter & 1) != 0;
  const Vec<double> first = odd ? sine : cosine, second = odd ? cosine : sine;
  const auto negated = [](Vec<double> v, Bits where) {  // where bit 1 is set
    return std::bit_cast<Vec<double>>(std::bit_cast<Bits>(v) ^ (where & 2) << 62);
  };
  n0 = radius * negated(first, quarter + 1);
  n1 = radius * negated(second, quarter);
}

}  // namespace detail

// Standard normals `first` .. first+n-1 of the stream: random_normal of each (core/philox.h) but for the last
// bits of double precision.
template <class T>
void random_normals(const RngAddress& rng, uint64_t first, int64_t n, T* normal) {
  constexpr int64_t batch = detail::kBatchDraws;
  detail::for_each_batch(first, n, [&](int64_t i, uint64_t block) {
    uint32_t draws[batch];
    T drawn[batch];
    detail::random_batch(rng, block, draws);
    for (int64_t j = 0; j < batch; j += 2 * kLanes) {
      detail::Bits words;
      std::memcpy(&words, draws + j, sizeof words);
      Vec<double> n0, n1;
      detail::to_normals(words, n0, n1);
#pragma GCC unroll 8
      for (int64_t l = 0; l < kLanes; ++l) {
        drawn[j + 2 * l] = static_cast<T>(n0[l]);
        drawn[j + 2 * l + 1] = static_cast<T>(n1[l]);
      }
    }
    const int64_t begin = std::max<int64_t>(i, 0), end = std::min(i + batch, n);
    std::copy(drawn + (begin - i), drawn + (end - i), normal + begin);
  });
}

// put(i, dropout of value(i)) for i < n, of which element i takes draws[i].
template <class T, class Value, class Put>
void each_kept(int64_t n, const DropRule& rule, const uint32_t* draws, Value value, Put put) {
  const T scale = static_cast<T>(rule.scale);
  const uint32_t threshold = rule.threshold;
  for (int64_t i = 0; i < n; ++i) {
    const T kept = value(i) * scale;
    put(i, draws[i] >= threshold ? kept : T(0));
  }
}

// The draws of kNativeLanes rows side by side, one row to a lane, kDrawColumns columns at a time: row r's
// columns are draws first + r*stride, and so on, of the stream.
inline constexpr int kDrawColumns = detail::kBatchDraws / kNativeLanes;
using RowDraws = NativeVec<uint32_t>;

class DrawColumns {
 public:
  DrawColumns(const RngAddress& rng, uint64_t first, uint64_t stride) : rng_(rng) {
    for (uint64_t r = 0; r < kNativeLanes; ++r) {
      const uint64_t at = first + r * stride;
      block_[r] = at / 4;
      phase_[r] = static_cast<uint32_t>(at % 4);
      aligned_ = aligned_ && at % 4 == 0;
    }
    if (aligned_) return;
    for (uint64_t& block : block_) block -= kBlocks - 1;  // so that the last one drawn is a row's first
    RowDraws words[kDrawColumns];
    draw(words);
    std::copy_n(words + kDrawColumns - 4, 4, ahead_);
  }
  // to[c]: the next column but c.
  void next(RowDraws to[kDrawColumns]) {
    if (aligned_) return draw(to);
    RowDraws words[4 + kDrawColumns];
    std::copy_n(ahead_, 4, words);
    draw(words + 4);
    std::copy_n(words + kDrawColumns, 4, ahead_);
    for (int c = 0; c < kDrawColumns; ++c)
      to[c] = phase_ == 0 ? words[c] : phase_ == 1 ? words[c + 1] : phase_ == 2 ? words[c + 2] : words[c + 3];
  }

 private:
  static constexpr int kBlocks = kDrawColumns / 4;  // of a row in a batch

  // The words of the next blocks of each row: of each block, two groups have the rows' lanes.
  void draw(RowDraws to[kDrawColumns]) {
    detail::Batch batch;
#pragma GCC unroll 8
    for (int g = 0; g < detail::kGroups; ++g) {
      std::memcpy(&batch.a[g], block_ + g % 2 * detail::kWordLanes, sizeof batch.a[g]);
      batch.a[g] += static_cast<uint64_t>(g / 2);
      batch.b[g] = batch.a[g] >> 32;
    }
    batch.run(rng_);
    const auto narrow = [to](const detail::Words* words, int word) {
      typedef uint32_t Half __attribute__((vector_size(4 * detail::kWordLanes)));
#pragma GCC unroll 8
      for (int g = 0; g < detail::kGroups; ++g) {
        const Half half = __builtin_convertvector(words[g], Half);
        std::memcpy(reinterpret_cast<char*>(to + 4 * (g / 2) + word) + g % 2 * static_cast<int>(sizeof half),
                    &half, sizeof half);
      }
    };
    narrow(batch.a, 0);
    narrow(batch.b, 1);
    narrow(batch.c, 2);
    narrow(batch.d, 3);
    for (uint64_t& block : block_) block += kBlocks;
  }

  RngAddress rng_;
  alignas(64) uint64_t block_[kNativeLanes]{};
  RowDraws phase_{};
  bool aligned_ = true;
  RowDraws ahead_[4]{};
};

}  // namespace cpu
}  // namespace moe::kernels
