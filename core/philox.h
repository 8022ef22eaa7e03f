#pragma once
// Random numbers with an address. Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as
// easy as 1, 2, 3" (SC'11). A draw is a pure function of (seed, step, stream, index): the same bits on every
// device and for every number of threads, and nothing to save but the step.
//
// Plain functions on integers, so that CUDA sources can include this header.

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace moe {

// The part of an address that changes from step to step.
struct RngMoment {
  uint64_t seed = 0, step = 0;
};

// Which draws of a step: every consumer of random numbers owns a stream. Index counts the draws inside it.
//
// A step that the GPU replays runs with the arguments that its kernels were launched with once. There `at`
// says where in device memory seed and step lie, and takes the place of those here; CUDA kernels look there
// (kernels/random.cuh), nobody else does.
struct RngAddress {
  uint64_t seed = 0;
  uint32_t step = 0;
  uint32_t stream = 0;
  const RngMoment* at = nullptr;
};

struct Philox4 {
  uint32_t v[4];
};

// The block cipher itself: ten rounds over counter c under key (k0, k1).
MOE_HOST_DEVICE inline Philox4 philox4x32_10(Philox4 c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c.v[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c.v[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.v[1] ^ k0, static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.v[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// Draws 4*block .. 4*block+3 of the stream.
MOE_HOST_DEVICE inline Philox4 random_block(const RngAddress& a, uint64_t block) {
  return philox4x32_10({{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), a.stream, a.step}},
                       static_cast<uint32_t>(a.seed), static_cast<uint32_t>(a.seed >> 32));
}

// Draw `index` of the stream, uniform over all 32-bit values.
MOE_HOST_DEVICE inline uint32_t random_u32(const RngAddress& a, uint64_t index) {
  return random_block(a, index >> 2).v[index & 3];
}

// 64 random bits, draw `index` of a stream that is used for nothing else.
MOE_HOST_DEVICE inline uint64_t random_u64(const RngAddress& a, uint64_t index) {
  const Philox4 b = random_block(a, index);
  return uint64_t{b.v[0]} << 32 | b.v[1];
}

// Uniform in [0, n), n < 2^63: the high word of a 64 x 64 bit product, biased by less than n / 2^64.
MOE_HOST_DEVICE inline int64_t random_below(const RngAddress& a, uint64_t index, int64_t n) {
#ifdef __CUDA_ARCH__
  return static_cast<int64_t>(__umul64hi(random_u64(a, index), static_cast<uint64_t>(n)));
#else
  return static_cast<int64_t>(static_cast<uint64_t>(
      static_cast<unsigned __int128>(random_u64(a, index)) * static_cast<uint64_t>(n) >> 64));
#endif
}

// In (0, 1): the middle of one of 2^23 equal intervals, exact in float.
MOE_HOST_DEVICE inline float to_uniform(uint32_t u) {
  return (static_cast<float>(u >> 9) + 0.5f) * 0x1p-23f;
}

// Two standard normals from two draws (Box and Muller 1958). Computed in double, so that the rounding of the
// elementary functions of one device or another does not reach the float result but in rare last bits.
MOE_HOST_DEVICE inline void to_normals(uint32_t u0, uint32_t u1, double& n0, double& n1) {
  const double radius = std::sqrt(-2.0 * std::log((static_cast<double>(u0) + 0.5) * 0x1p-32));
  const double turn = static_cast<double>(u1) * 0x1p-32;
#ifdef __CUDA_ARCH__
  sincospi(2 * turn, &n1, &n0);  // sincos of an angle that may be large needs a table in slow memory
  n0 *= radius;
  n1 *= radius;
#else
  n0 = radius * std::cos(6.283185307179586476925 * turn);
  n1 = radius * std::sin(6.283185307179586476925 * turn);
#endif
}

// Standard normal `index` of the stream.
MOE_HOST_DEVICE inline double random_normal(const RngAddress& a, uint64_t index) {
  const Philox4 b = random_block(a, index >> 2);
  double n0, n1;
  if (index & 2)
    to_normals(b.v[2], b.v[3], n0, n1);
  else
    to_normals(b.v[0], b.v[1], n0, n1);
  return index & 1 ? n1 : n0;
}

}  // namespace moe
