#pragma once
// One block of a grid: its threads, each on a fiber, and what makes them wait for one another.
//
// The executor runs one block after the other, and of a block one thread at a time, on the host thread that
// launched. A thread runs until it waits for others: at a block barrier or in a warp collective. Then the
// schedule says who goes on. When nobody can, the block is deadlocked, and the report says who waits where.

#include <vector_types.h>

#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "fiber.h"
#include "launch.h"
#include "schedule.h"
#include "shared.h"

namespace simt {

#ifdef __cpp_lib_source_location
using Location = std::source_location;
#else  // Clang before 16
class Location {
 public:
  Location() = default;
  static Location current(const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE(),
                          uint32_t column = __builtin_COLUMN()) {
    return {file, line, column};
  }
  const char* file_name() const { return file_; }
  uint32_t line() const { return line_; }
  uint32_t column() const { return column_; }

 private:
  Location(const char* file, uint32_t line, uint32_t column) : file_(file), line_(line), column_(column) {}
  const char* file_ = "";
  uint32_t line_ = 0, column_ = 0;
};
#endif

// A warp collective. exchange() runs once all lanes of the mask have arrived: slots[l] is lane l's argument,
// nullptr for a lane that takes no part.
struct Collective {
  const char* name = "";
  void (*exchange)(void* const* slots) = nullptr;
  bool orders_memory = false;  // among the lanes that take part: __syncwarp alone promises it
  const void* code =
      nullptr;  // of instructions that all lanes must reach at one place, the address behind it
};

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes = 0;
  bool more_shared = false;  // beyond the 48 KiB that a block gets unasked
  std::string_view kernel;
  uint64_t launch = 0;  // how many kernels ran before
  Range arguments;      // where the kernel's parameters lie
};

class Block {
 public:
  // The block that runs just now, nullptr outside kernels.
  static Block* current();
  // "reverse_kernel, block (0,0,0), thread (3,0,0)", "" outside kernels.
  static std::string place();

  // Runs all threads of a block; false when it deadlocked, which is reported, or was given up.
  bool run(const Grid&, uint64_t index, const ThreadBody&);
  // Called by a thread that cannot go on: it and all others end where they are.
  [[noreturn]] void give_up();

  // What threads call.
  void collective(const Collective&, uint32_t mask, void* slot, const Location&);
  // Waits for all threads that have not left the kernel, and returns how many of them passed true.
  int barrier(bool predicate, const Location&);

  const Grid& grid() const { return *grid_; }
  uint64_t index() const { return index_; }
  int thread() const { return running_; }
  int threads() const { return static_cast<int>(lanes_.size()); }
  bool on_stack(const void* p) const { return lanes_[static_cast<size_t>(running_)].fiber->contains(p); }

 private:
  enum class State : uint8_t { unstarted, running, ready, in_collective, at_barrier, done };
  struct Lane {
    State state = State::unstarted;
    Fiber* fiber = nullptr;
    Collective collective;  // what it waits in, or at
    uint32_t mask = 0;
    void* slot = nullptr;
    Location location;
    bool predicate = false;
  };
  struct Warp {
    uint32_t live = 0, waiting = 0;  // not yet done; in a collective
  };

  static void lane_body();
  void start_on(int thread, Fiber*);
  void wait();
  void wake(int thread);
  void finish();
  void complete_collective(int warp, uint32_t mask);
  void complete_barrier();
  void report_deadlock() const;
  std::string describe_wait(size_t lane) const;

  const Grid* grid_ = nullptr;
  const ThreadBody* body_ = nullptr;
  uint64_t index_ = 0;
  std::vector<Lane> lanes_;
  std::vector<Warp> warps_;
  ReadyThreads ready_;
  int running_ = 0, live_ = 0;
  int picked_ = -1;  // taken from ready_ by a thread that left
  int at_barrier_ = 0;
  int barrier_count_ = 0;
  bool given_up_ = false;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
};

}  // namespace simt

// CUDA's built-in variables, of the thread that runs.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;
