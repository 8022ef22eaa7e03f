#include "core/cuda_memory.h"

#ifdef MOE_WITH_CUDA

#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "core/memory.h"

namespace moe::cuda {
namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess)
    throw error(ErrorKind::runtime, "cuda: {}: {}", what, cudaGetErrorString(status));
}

void copy(void* to, const void* from, int64_t bytes, cudaMemcpyKind kind, Stream stream) {
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kind, stream), "cannot copy memory");
}

}  // namespace

void* allocate(int64_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // the runtime would report it again
    throw error(ErrorKind::resource, "out of memory on the GPU: {} more were needed",
                format_bytes(static_cast<double>(bytes)));
  }
  check(status, "cannot allocate memory");
  return data;
}

void release(void* data) noexcept {
  cudaFree(data);
}

void fill_zero(void* data, int64_t bytes, Stream stream) {
  check(cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), stream), "cannot clear memory");
}

void copy_on_device(void* to, const void* from, int64_t bytes, Stream stream) {
  copy(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

void copy_to_device(void* to, const void* from, int64_t bytes, Stream stream) {
  copy(to, from, bytes, cudaMemcpyHostToDevice, stream);
  check(cudaStreamSynchronize(stream), "cannot copy to the GPU");
}

void copy_to_host(void* to, const void* from, int64_t bytes, Stream stream) {
  copy(to, from, bytes, cudaMemcpyDeviceToHost, stream);
  check(cudaStreamSynchronize(stream), "cannot copy from the GPU");
}

void* scratch(int64_t bytes, Stream stream) {
  struct Memory {
    void* data;
    int64_t bytes;
  };
  static std::mutex mutex;
  // The last one is in use. Never destroyed: CUDA may be gone when the process ends.
  static auto& of_stream = *new std::map<Stream, std::vector<Memory>>();
  const std::lock_guard lock(mutex);
  std::vector<Memory>& memory = of_stream[stream];
  const int64_t room = memory.empty() ? 0 : memory.back().bytes;
  if (memory.empty() || room < bytes) {  // the first call may want nothing
    const int64_t wanted = std::max({bytes, 2 * room, int64_t{1} << 16});
    memory.push_back({allocate(wanted), wanted});
  }
  return memory.back().data;
}

Precision usable_precision() {
  static const bool tensor_cores = [] {
    int device = 0, major = 0;
    check(cudaGetDevice(&device), "no device");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "unknown device");
    return major >= 8;
  }();
  return tensor_cores ? current_precision() : Precision::fp32;
}

void refuse(const std::string& message) {
  throw Error(ErrorKind::usage, message);
}

}  // namespace moe::cuda

#endif
