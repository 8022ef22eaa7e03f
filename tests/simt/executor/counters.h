#pragma once
// What a run cost, counted, never timed.

#include <cstdint>

namespace simt {

struct Counters {
  uint64_t kernels = 0, blocks = 0, threads = 0;  // that ran, those of graphs included
  uint64_t products = 0;                          // matrix products by cuBLAS
  uint64_t fills = 0;                             // of memory, by cudaMemset
  uint64_t graph_launches = 0;
  uint64_t host_syncs = 0;  // calls that made the host wait
  uint64_t allocations = 0, frees = 0;
  uint64_t bytes_to_device = 0, bytes_to_host = 0, bytes_on_device = 0;  // copied
  uint64_t bytes_filled = 0;                                             // by cudaMemset

  // Of kernels compiled with -fsanitize=thread alone (watch.h).
  uint64_t bytes_loaded = 0, bytes_stored = 0;  // global memory, as the threads asked for them
  uint64_t sectors = 0;                         // of 32 bytes, that the accesses of whole warps touched
  uint64_t least_sectors = 0;                   // that would have held the bytes they asked for
  uint64_t shared_accesses = 0;                 // of whole warps
  uint64_t bank_conflicts = 0;  // passes that they took beyond the first, or what their bytes need
};

Counters& counters();

}  // namespace simt
