#pragma once
// What a run cost, counted, never timed.

#include <cstdint>
#include <map>
#include <string>

namespace simt {

struct Counters {
  uint64_t kernels = 0, blocks = 0, threads = 0;  // that ran, those of graphs included
  uint64_t products = 0;                          // of cuBLAS
  uint64_t graph_launches = 0;
  uint64_t host_syncs = 0;              // calls that make the host wait, those that free memory included
  uint64_t allocations = 0, frees = 0;  // of device memory and of the host's pinned memory
  uint64_t copies = 0, bytes_to_device = 0, bytes_to_host = 0, bytes_on_device = 0;
  uint64_t fills = 0, bytes_filled = 0;  // by cudaMemset

  // Of kernels compiled with -fsanitize=thread alone (watch.h), while traffic is counted.
  uint64_t bytes_loaded = 0, bytes_stored = 0;  // of global memory, as the threads asked for them
  // As warps asked for them: what several lanes read at once counts once.
  uint64_t bytes_loaded_by_warps = 0, bytes_stored_by_warps = 0;
  uint64_t bytes_in_128_bits = 0;  // of these, in accesses of 16 bytes a thread
  // As blocks asked for them, each word once for each block: what a first-level cache leaves over.
  uint64_t bytes_loaded_by_blocks = 0, bytes_stored_by_blocks = 0;
  uint64_t bytes_read_once = 0, bytes_written_once = 0;  // by launches: each word counts once for each launch
  uint64_t sectors = 0;          // of 32 bytes, that the accesses of whole warps touched
  uint64_t least_sectors = 0;    // that would have held the bytes they asked for
  uint64_t shared_accesses = 0;  // of whole warps
  uint64_t bank_conflicts = 0;   // passes that they took beyond the first, or what their bytes need

  Counters& operator+=(const Counters&);
  Counters operator-(const Counters&) const;
};

Counters& counters();

// What the launches of each kernel cost, by its name with its template arguments.
std::map<std::string, Counters>& counters_of_kernels();

}  // namespace simt
