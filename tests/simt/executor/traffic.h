#pragma once
// What a kernel's accesses cost a GPU's memory: 32-byte sectors of global memory, passes over the banks of
// shared memory. A GPU serves a warp's lanes together, here they run one by one: the n-th time that a lane
// comes to an instruction counts as one access with the n-th time of the other lanes. Where lanes run loops
// of different lengths that is a guess.

#include <cstddef>

#include "watch.h"

namespace simt::traffic {

// Counts from now on (counters.h), when kernels are watched at all.
void count(bool);

void global(const void* p, size_t bytes, watch::Access, const void* code);
void shared(const void* p, size_t bytes, const void* code);
void end_block();

}  // namespace simt::traffic
