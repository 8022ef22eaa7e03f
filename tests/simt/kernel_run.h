#pragma once
// For tests of single kernels.

#include <cuda_runtime_api.h>

#include <utility>

#include "kernels/gpu.h"
#include "tests/catch.h"
#include "tests/simt/executor/watch.h"
#include "tests/simt/schedules.h"

namespace moe::test {

// Device memory of n elements that the test itself reads and writes, which it can since it is the host's.
template <class T>
class Buffer {
 public:
  explicit Buffer(int n) {
    cudaMalloc(reinterpret_cast<void**>(&data_), static_cast<size_t>(n) * sizeof(T));
    simt::watch::copy(data_, static_cast<size_t>(n) * sizeof(T), true);  // what the test writes
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return data_; }
  template <class I>
  T& operator[](I i) const {
    return data_[i];
  }

 private:
  T* data_ = nullptr;
};

// Launches and waits.
template <auto kernel, class... Args>
void run(const gpu::LaunchConfig& config, Args&&... args) {
  gpu::launch<kernel>(config, std::forward<Args>(args)...);
  cudaDeviceSynchronize();
}

}  // namespace moe::test
