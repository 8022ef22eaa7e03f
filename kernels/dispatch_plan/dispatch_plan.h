#pragma once
// Who goes where: a stable counting sort of the R = N*k assignments by expert. Assignment a = n*k + j.
//
//   count[e]   = how many assignments have expert[a] = e
//   kept(e)    = count[e], or min(count[e], capacity): the first ones in the order of a
//   offsets[e] = sum of kept over the experts before e, offsets[E] = all kept
//   row[a]     = offsets[e] + (how many assignments before a have expert e), or -1 beyond the capacity
//   assignment = the inverse of row; -1 for rows offsets[E] .. R-1
//
// No gradient. Throws ErrorKind::runtime for an expert outside [0, E).

#include <cstdint>

#include "core/device.h"

namespace moe::kernels {

struct DispatchShape {
  int64_t tokens, topk, experts;
  int64_t capacity;  // < 0: none
};

namespace cpu {

// expert, row [N, k]; offsets [E + 1]; assignment [R]; count [E]
void dispatch_plan(DispatchShape, const int32_t* expert, int32_t* offsets, int32_t* assignment, int32_t* row,
                   int32_t* count);

}  // namespace cpu

namespace cuda {

// An expert outside [0, E) cannot be reported from here: its assignment is dropped and not counted.
void dispatch_plan(DispatchShape, const int32_t* expert, int32_t* offsets, int32_t* assignment, int32_t* row,
                   int32_t* count, Stream);

}  // namespace cuda
}  // namespace moe::kernels
