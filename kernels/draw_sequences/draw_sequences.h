#pragma once
// Sequences of a text of token ids, at places that are drawn uniformly. Sequence i of a stream begins at
// start = random_below(rng, i, M - T):
//
//   tokens[b,t] = ids[start + t]     targets[b,t] = ids[start + t + 1]     of sequence first + b

#include <cstdint>

#include "core/device.h"
#include "core/philox.h"

namespace moe::kernels {

struct SequencesShape {
  int64_t ids = 0;                // M > T
  int64_t batch = 0, length = 0;  // B, T
  int64_t first = 0;
};

namespace cpu {

void draw_sequences(SequencesShape, const RngAddress&, const int32_t* ids, int32_t* tokens, int32_t* targets);

}  // namespace cpu

namespace cuda {

void draw_sequences(SequencesShape, const RngAddress&, const int32_t* ids, int32_t* tokens, int32_t* targets,
                    Stream);

}  // namespace cuda
}  // namespace moe::kernels
