#include "core/cuda_graph.h"

#ifdef MOE_WITH_CUDA

#include <cuda_runtime_api.h>

#include "core/cuda_check.h"

namespace moe::cuda {

OwnedStream make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamDefault), "cannot make a stream");
  return {stream, [](cudaStream_t s) { cudaStreamDestroy(s); }};
}

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cannot make an event");
  return {event, [](cudaEvent_t e) { cudaEventDestroy(e); }};
}

void record(const Event& event, Stream stream) {
  check(cudaEventRecord(event.get(), stream), "cannot record an event");
}

bool is_over(const Event& event) {
  const cudaError_t status = cudaEventQuery(event.get());
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // the runtime would report it again
    return false;
  }
  check(status, "the GPU's work failed");
  return true;
}

void wait_for(const Event& event) {
  check(cudaEventSynchronize(event.get()), "the GPU's work failed");
}

double seconds_between(const Event& begin, const Event& end) {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "cannot tell the time");
  return 1e-3 * static_cast<double>(ms);
}

PinnedMemory make_pinned(size_t bytes) {
  void* data = nullptr;
  check(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), "cannot allocate host memory");
  return {static_cast<std::byte*>(data), [](std::byte* p) { cudaFreeHost(p); }};
}

Graph capture(Stream stream, const std::function<void()>& work) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cannot record a graph");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(stream, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "cannot record a graph");
  cudaGraphExec_t exec = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cannot make a graph");
  return {exec, [](cudaGraphExec_t e) { cudaGraphExecDestroy(e); }};
}

void launch(const Graph& graph, Stream stream) {
  check(cudaGraphLaunch(graph.get(), stream), "cannot launch a graph");
}

}  // namespace moe::cuda

#endif
