#pragma once
// Every access of a kernel to memory, seen one by one.
//
// Kernels that are compiled with -fsanitize=thread call a function before each load and store (hooks.cpp has
// these functions, ThreadSanitizer itself is not linked). What they see comes here: accesses outside every
// allocation are reported, the others go to the race detector and to the counters of traffic. In a program
// whose kernels were compiled without, nothing calls and nothing is kept.

#include <cstddef>

#include "shared.h"

namespace simt::watch {

enum class Access : unsigned char { none, read, write, atomic };
const char* name_of(Access);

// Whether kernels are compiled to call access().
bool on();
void switch_on();

// While one lives, what runs is the executor and no kernel, and calls access() for nothing: standard
// containers may be compiled into the program as the kernels are.
class Executor {
 public:
  Executor() : before_(running) { running = true; }
  ~Executor() { running = before_; }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  inline static bool running = false;

 private:
  bool before_;
};

// By the thread that runs; `code` is the address behind the instruction.
void access(const void* p, size_t bytes, Access, const void* code);
// The same, with an address that must be a multiple of `bytes`: no GPU loads or stores anything else.
void access_aligned(const void* p, size_t bytes, Access, const void* code);
// The same, by an instruction that the executor carries out for the thread.
void access_for_thread(const void* p, size_t bytes, Access, const void* code);
// By an operation that is no kernel, or by the host where none runs.
void copy(const void* p, size_t bytes, bool write);
// The memory is freed.
void forget(Range);

}  // namespace simt::watch
