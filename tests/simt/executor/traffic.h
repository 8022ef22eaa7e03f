#pragma once
// What a kernel's accesses cost a GPU's memory: bytes and 32-byte sectors of global memory, passes over the
// banks of shared memory. A GPU serves a warp's lanes together, here they run one by one: the n-th time that
// a lane comes to an instruction counts as one access with the n-th time of the other lanes. Where lanes run
// loops of different lengths that is a guess.

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "watch.h"

namespace simt::traffic {

// Counts from now on (counters.h), when kernels are watched at all.
void count(bool);

// What an instruction costs beyond the least: the address behind it, as watch.h has it.
struct Place {
  uint64_t more_sectors = 0, bank_conflicts = 0;
};
// Of each kernel, by its name with its template arguments, since counting began.
const std::map<std::string, std::map<const void*, Place>>& places();

void begin_launch(std::string_view kernel);
void global(Range allocation, const void* p, size_t bytes, watch::Access, const void* code);
void shared(const void* p, size_t bytes, watch::Access, const void* code);
void end_block();
// The memory is freed.
void forget(Range);

}  // namespace simt::traffic
