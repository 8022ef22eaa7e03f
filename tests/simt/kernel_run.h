#pragma once
// For tests of single kernels.

#include <cstddef>

#include "tests/catch.h"
#include "tests/simt/executor/memory.h"
#include "tests/simt/executor/schedule.h"

namespace moe::test {

// Device memory that the test reads and writes as well.
template <class T>
class Buffer {
 public:
  explicit Buffer(int n)
      : data_(static_cast<T*>(simt::device_memory::allocate(static_cast<size_t>(n) * sizeof(T)))) {}
  ~Buffer() { simt::device_memory::release(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return data_; }
  template <class I>
  T& operator[](I i) const {
    return data_[i];
  }

 private:
  T* data_;
};

// check() under each schedule, with several seeds where there are any.
template <class Check>
void under_all_schedules(Check check) {
  using simt::Schedule;
  for (const auto& [schedule, seeds] : {std::pair{Schedule::forward, 1u},
                                        {Schedule::reverse, 1u},
                                        {Schedule::random, 4u},
                                        {Schedule::warp, 4u}})
    for (unsigned seed = 1; seed <= seeds; ++seed) {
      simt::options().schedule = schedule;
      simt::options().seed = seed;
      INFO("schedule " << static_cast<int>(schedule) << ", seed " << seed);
      check();
    }
  simt::options() = {};
}

}  // namespace moe::test
