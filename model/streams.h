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

inline uint32_t rng_stream(Draw purpose, int64_t layer = 0) {
  return static_cast<uint32_t>(purpose) << 16 | static_cast<uint32_t>(layer);
}

inline RngAddress rng_address(uint64_t seed, int64_t step, Draw purpose, int64_t layer = 0) {
  return {seed, static_cast<uint32_t>(step), rng_stream(purpose, layer)};
}

}  // namespace moe
