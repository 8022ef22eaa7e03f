#pragma once
// A stack of its own for a CUDA thread, which can stop in the middle of a kernel and go on later.
//
// On top of Boost.Context's bare switch (14 ns). AddressSanitizer is told of every switch, so that it knows
// the stacks.

#include <cstddef>

namespace simt {

class Fiber {
 public:
  // Runs body() at the first resume. The body must not return: it pauses when it has nothing left to do, and
  // the fiber may be destroyed while it is paused. What lives on its stack then is forgotten, not destroyed.
  explicit Fiber(void (*body)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();        // called by the scheduler; returns when the fiber pauses
  static void pause();  // called on the fiber; returns when it is resumed

  bool contains(const void* p) const { return p >= stack_ && p < stack_ + kStackBytes; }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kStackBytes = 256 << 10;  // its red zones around locals take room
#else
  static constexpr size_t kStackBytes = 64 << 10;
#endif
  struct Entry;

  void (*body_)();
  std::byte* stack_;            // above a page that faults
  void* context_ = nullptr;     // where to go on
  void* caller_ = nullptr;      // where resume() was called
  void* fake_stack_ = nullptr;  // AddressSanitizer's
};

}  // namespace simt
