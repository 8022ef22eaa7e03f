// Memory of the CUDA runtime: allocations, copies, fills.

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "counters.h"
#include "fault.h"
#include "graph.h"
#include "memory.h"
#include "runtime.h"
#include "stream.h"
#include "watch.h"

namespace simt {
namespace {

// Memory that the host shares with the device: copies from and to it are under way until the host waits for
// them.
device_memory::Pieces& pinned() {
  static device_memory::Pieces all;
  return all;
}

bool is_pinned(const void* p) {
  return device_memory::find(pinned(), p).begin != nullptr;
}

bool is_device(const void* p) {
  return device_memory::find(p).begin != nullptr;
}

// Reports a piece of device memory that leaves its allocation.
bool fits(const char* call, const void* p, size_t bytes) {
  const Range range = device_memory::find(p);
  if (bytes == 0 || (range.begin && static_cast<const std::byte*>(p) + bytes <= range.end)) return true;
  report(FaultKind::bounds,
         fmt::format("{}: {} bytes at {} are no device memory, or more than there is", call, bytes, p));
  return false;
}

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  cudaMemcpyKind kind;
};

// The kind said, or found out from the addresses; refused when the two disagree.
cudaError_t settle_kind(const char* call, Copy& c) {
  const bool to_device = is_device(c.to), from_device = is_device(c.from);
  const cudaMemcpyKind found = to_device ? (from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                                         : (from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
  if (c.kind == cudaMemcpyDefault) c.kind = found;
  if (c.kind != found) {
    report(FaultKind::bounds, fmt::format("{}: the direction does not fit the addresses", call));
    return cudaErrorInvalidValue;
  }
  if ((to_device && !fits(call, c.to, c.bytes)) || (from_device && !fits(call, c.from, c.bytes)))
    return cudaErrorInvalidValue;
  return cudaSuccess;
}

void run(const Copy& c) {
  if (is_device(c.from)) watch::copy(c.from, c.bytes, false);
  if (is_device(c.to)) watch::copy(c.to, c.bytes, true);
  std::memmove(c.to, c.from, c.bytes);
  Counters& n = counters();
  ++n.copies;
  (c.kind == cudaMemcpyHostToDevice   ? n.bytes_to_device
   : c.kind == cudaMemcpyDeviceToHost ? n.bytes_to_host
                                      : n.bytes_on_device) += c.bytes;
}

cudaError_t enter(const char* call, Copy c, cudaStream_t handle) {
  if (c.bytes == 0) return cudaSuccess;
  if (const cudaError_t refused = settle_kind(call, c); refused != cudaSuccess) return refused;
  CUstream_st& stream = streams::of(handle);
  if (c.kind == cudaMemcpyHostToDevice && !is_pinned(c.from) && !stream.capture) {
    // The runtime has read pageable memory when the call returns.
    auto* const begin = static_cast<const std::byte*>(c.from);
    const auto staged = std::make_shared<std::vector<std::byte>>(begin, begin + c.bytes);
    return streams::enter(handle, call, [=] { run({c.to, staged->data(), c.bytes, c.kind}); });
  }
  return streams::enter(handle, call, [=] { run(c); });
}

// Whether the call returns only when the copy is over: pageable memory has been written then.
bool waits(const Copy& c, const CUstream_st& stream) {
  return !stream.capture && is_device(c.from) && !is_device(c.to) && !is_pinned(c.to);
}

cudaError_t fill(const char* call, void* to, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!fits(call, to, bytes)) return cudaErrorInvalidValue;
  return streams::enter(stream, call, [=] {
    watch::copy(to, bytes, true);
    std::memset(to, value, bytes);
    ++counters().fills;
    counters().bytes_filled += bytes;
  });
}

}  // namespace
}  // namespace simt

extern "C" {

cudaError_t CUDARTAPI cudaMalloc(void** p, size_t bytes) {
  if (const cudaError_t refused = simt::capture::check_unsafe("cudaMalloc"); refused != cudaSuccess)
    return simt::result(refused);
  ++simt::counters().allocations;
  *p = simt::device_memory::allocate(bytes);
  return simt::result(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t CUDARTAPI cudaFree(void* p) {
  if (!p) return cudaSuccess;
  if (const cudaError_t refused = simt::capture::check_unsafe("cudaFree"); refused != cudaSuccess)
    return simt::result(refused);
  ++simt::counters().frees;
  const cudaError_t status = simt::streams::wait_for_all();
  simt::watch::forget(simt::device_memory::find(p));
  if (!simt::device_memory::release(p)) {
    simt::report(simt::FaultKind::bounds, "cudaFree of what cudaMalloc did not give");
    return simt::result(cudaErrorInvalidValue);
  }
  return simt::result(status);
}

cudaError_t CUDARTAPI cudaHostAlloc(void** p, size_t bytes, unsigned) {
  if (const cudaError_t refused = simt::capture::check_unsafe("cudaHostAlloc"); refused != cudaSuccess)
    return simt::result(refused);
  ++simt::counters().allocations;
  *p = std::malloc(bytes ? bytes : 1);
  if (*p) simt::pinned()[static_cast<std::byte*>(*p)] = bytes;
  return simt::result(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t CUDARTAPI cudaMallocHost(void** p, size_t bytes) {
  return cudaHostAlloc(p, bytes, 0);
}

cudaError_t CUDARTAPI cudaFreeHost(void* p) {
  if (!p) return cudaSuccess;
  ++simt::counters().frees;
  const cudaError_t status = simt::streams::wait_for_all();
  if (simt::pinned().erase(static_cast<std::byte*>(p)) == 0) return simt::result(cudaErrorInvalidValue);
  std::free(p);
  return simt::result(status);
}

cudaError_t CUDARTAPI cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                                      cudaStream_t stream) {
  const simt::Copy copy{to, from, bytes, kind};
  const cudaError_t entered = simt::enter("cudaMemcpyAsync", copy, stream);
  CUstream_st& entered_into = simt::streams::of(stream);
  if (entered != cudaSuccess || !simt::waits(copy, entered_into)) return simt::result(entered);
  return simt::result(simt::streams::wait_for(entered_into.clock));
}

cudaError_t CUDARTAPI cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t refused = simt::capture::check_unsafe("cudaMemcpy"); refused != cudaSuccess)
    return simt::result(refused);
  const cudaError_t entered = simt::enter("cudaMemcpy", {to, from, bytes, kind}, nullptr);
  return simt::result(entered != cudaSuccess ? entered
                                             : simt::streams::wait_for(simt::streams::of(nullptr).clock));
}

cudaError_t CUDARTAPI cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return simt::result(simt::fill("cudaMemsetAsync", to, value, bytes, stream));
}

cudaError_t CUDARTAPI cudaMemset(void* to, int value, size_t bytes) {
  return simt::result(simt::fill("cudaMemset", to, value, bytes, nullptr));
}

cudaError_t CUDARTAPI cudaMemGetInfo(size_t* available, size_t* total) {
  *available = *total = size_t{8} << 30;
  return cudaSuccess;
}

}  // extern "C"
