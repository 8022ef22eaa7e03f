#include "core/cuda_memory.h"

#ifdef MOE_WITH_CUDA

#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "core/cuda_check.h"
#include "core/memory.h"

namespace moe::cuda {
namespace {

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

void enter_copy_to_device(void* to, const void* from, int64_t bytes, Stream stream) {
  copy(to, from, bytes, cudaMemcpyHostToDevice, stream);
}

void enter_copy_to_host(void* to, const void* from, int64_t bytes, Stream stream) {
  copy(to, from, bytes, cudaMemcpyDeviceToHost, stream);
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

std::string why_no_device() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices > 0) return "";
  cudaGetLastError();  // the runtime would report it again
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "there is no NVIDIA driver";
  cudaRuntimeGetVersion(&runtime);
  const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
  if (status == cudaErrorInsufficientDriver)
    return fmt::format("the NVIDIA driver is too old: it knows CUDA up to {}, this build needs {}",
                       version(driver), version(runtime));
  if (status == cudaSuccess || status == cudaErrorNoDevice) return "there is no NVIDIA GPU";
  return fmt::format("the GPU does not answer: {}", cudaGetErrorString(status));
}

std::string device_name() {
  int device = 0;
  cudaDeviceProp properties = {};
  check(cudaGetDevice(&device), "no device");
  check(cudaGetDeviceProperties(&properties, device), "unknown device");
  return properties.name;
}

int64_t available_memory() {
  size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "cannot tell how much memory there is");
  return static_cast<int64_t>(available);
}

Precision usable_precision() {
  static const bool tensor_cores = [] {
    int device = 0, major = 0, minor = 0;
    check(cudaGetDevice(&device), "no device");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "unknown device");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "unknown device");
    return 10 * major + minor >= MOE_TENSOR_CORES_FROM;
  }();
  return tensor_cores ? current_precision() : Precision::fp32;
}

void refuse(const std::string& message) {
  throw Error(ErrorKind::usage, message);
}

}  // namespace moe::cuda

#endif
