#pragma once
// In which order the threads of a block run, and the blocks of a grid. A GPU promises none, so a kernel has
// to give the same result in all.

#include <bit>
#include <cstdint>
#include <vector>

namespace simt {

enum class Schedule : uint8_t {
  forward,  // by rising index, each thread until it has to wait
  reverse,  // by falling index
  random,   // any thread that can run
  warp,     // one warp runs ahead of the others as far as it can; which one is drawn anew after every block
            // barrier
};

struct Options {
  Schedule schedule = Schedule::forward;
  uint64_t seed = 1;                     // of random and warp
  int64_t most_shared_bytes = 64 << 10;  // that a block can ask for: the least of sm_75 to sm_120
};
Options& options();

// splitmix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(seed) {}
  uint64_t next();
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }

 private:
  uint64_t state_;
};

// The threads of a block that can run.
class ReadyThreads {
 public:
  void reset(int threads, uint64_t seed);  // all of them
  void add(int thread);
  // Removes and returns the next one of the schedule, or -1.
  int take();
  void block_barrier();  // the schedule `warp` lets another one run ahead

 private:
  int next_up(int from) const;
  int next_down(int from) const;
  void draw_warp_order();

  Schedule schedule_ = Schedule::forward;
  Random random_;
  uint32_t warps_ = 0;       // bit w: lanes_[w] is not 0
  uint32_t lanes_[32] = {};  // bit l: lane l of the warp is ready
  int cursor_ = 0;           // of forward and reverse
  uint8_t warp_order_[32] = {};
};

// Block `i` of the order in which a grid of `blocks` runs.
class BlockOrder {
 public:
  BlockOrder(uint64_t blocks, uint64_t seed);
  uint64_t operator[](uint64_t i) const {
    return static_cast<uint64_t>((first_ + __uint128_t{i} * step_) % blocks_);
  }

 private:
  uint64_t blocks_, first_ = 0, step_ = 1;
};

}  // namespace simt
