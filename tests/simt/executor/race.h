#pragma once
// The race detector: two accesses to one byte by different threads, one of them a write, not both
// atomic, that nothing orders. It looks at order, not at time, so it finds a race in a run in which nothing
// went wrong.
//
// What orders accesses:
//   threads of a block          a block barrier
//   lanes of a warp             also a __syncwarp that both take part in; shuffles and votes order nothing
//   blocks of a grid            nothing
//   kernels, copies, the host   streams, events and waiting (stream.h)
// Reading what no thread of the block (shared memory) or nothing at all (device memory) has written is
// reported too.
//
// For every two bytes of memory that is used, the shadow keeps the last write, the last read by lanes of a
// warp at one clock, and three older reads that it does not come after: by other lanes of that warp, from
// another warp of the block, from another block or operation. A write is checked against them all. So a race
// with a read goes unseen in these cases alone:
//   lanes of a warp read at three clocks (between syncs of parts of the warp)
//   operations of three streams read
//   single bytes: two accesses to different bytes are never taken for a race, but of the accesses to either
//   of the two bytes only these are kept
// Of several atomic operations the last alone is kept, and with it what a plain access is checked against.

#include <cstddef>
#include <cstdint>
#include <string>

#include "shared.h"
#include "stream.h"
#include "watch.h"

namespace simt::race {

// On unless said otherwise. Without, accesses cost a tenth of the time: for programs that only count.
void check_accesses(bool);

// The operation of this number in its stream runs from now on, after those of the clock.
void begin_operation(const std::string& name, size_t stream, uint64_t number, const Clock& after);
void end_operation();
void begin_block(size_t threads);
void block_barrier();
void warp_sync(int warp, uint32_t lanes);

void check_shared(const void* p, size_t bytes, watch::Access, const void* code);
void check_global(Range allocation, const void* p, size_t bytes, watch::Access, const void* code);
void forget(Range allocation);

}  // namespace simt::race
