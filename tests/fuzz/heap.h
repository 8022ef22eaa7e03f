#pragma once
// How much memory the program has allocated by `new`, which heap.cpp replaces.

#include <cstddef>

namespace moe::fuzz {

// Bytes allocated now beyond those at the start of the measurement, and the most there ever were in between.
class HeapUse {
 public:
  HeapUse();
  size_t most() const;

 private:
  size_t before_;
};

}  // namespace moe::fuzz
