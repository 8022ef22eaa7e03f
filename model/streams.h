#pragma once
// Who draws random numbers, and where (see core/philox.h). A stream is a purpose and, inside the model, a
// layer.

#include <cstdint>

#include "core/philox.h"

namespace moe {

enum class Draw : uint32_t {
  initial_weights,  // layer: the parameter's number
  train_batch,
  eval_train_batch,
  eval_val_batch,
  eval_seed,
  router_noise,
  attention_dropout,
  projection_dropout,
  expert_dropout,
  sample,
  micro_batch,  // seeds a step's further micro batches
  attempt,      // seeds the batches after a rewind
};

inline RngAddress rng_address(uint64_t seed, int64_t step, Draw purpose, int64_t layer = 0) {
  return {seed, static_cast<uint32_t>(step),
          static_cast<uint32_t>(purpose) << 16 | static_cast<uint32_t>(layer)};
}

// 64 random bits, draw `index` of a stream that is used for nothing else.
inline uint64_t random_u64(const RngAddress& a, uint64_t index) {
  const Philox4 b = random_block(a, index);
  return uint64_t{b.v[0]} << 32 | b.v[1];
}

// Uniform in [0, n), n < 2^63: the high word of a 64 x 64 bit product, biased by less than n / 2^64.
inline int64_t random_below(const RngAddress& a, uint64_t index, int64_t n) {
  return static_cast<int64_t>(static_cast<uint64_t>(
      static_cast<unsigned __int128>(random_u64(a, index)) * static_cast<uint64_t>(n) >> 64));
}

}  // namespace moe
