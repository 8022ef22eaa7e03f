// Streams, events and graphs of the CUDA runtime.

#include <chrono>
#include <memory>

#include "counters.h"
#include "graph.h"
#include "runtime.h"
#include "stream.h"

struct CUevent_st {
  using Time = std::chrono::steady_clock::time_point;
  simt::Clock clock;                                      // what was entered into the stream before
  bool captured = false;                                  // recorded while a stream was captured
  std::shared_ptr<Time> time = std::make_shared<Time>();  // when that was over
};

namespace simt {
namespace {

cudaError_t query(const Clock& clock) {
  streams::step_towards(clock);
  return streams::is_over(clock) ? cudaSuccess : cudaErrorNotReady;
}

}  // namespace
}  // namespace simt

extern "C" {

cudaError_t CUDARTAPI cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = simt::streams::create((flags & cudaStreamNonBlocking) == 0);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t CUDARTAPI cudaStreamDestroy(cudaStream_t stream) {
  if (!stream) return simt::result(cudaErrorInvalidValue);
  simt::streams::destroy(stream);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamSynchronize(cudaStream_t handle) {
  const CUstream_st& stream = simt::streams::of(handle);
  const cudaError_t refused = simt::capture::check_wait("cudaStreamSynchronize", &stream);
  return simt::result(refused != cudaSuccess ? refused : simt::streams::wait_for(stream.clock));
}

cudaError_t CUDARTAPI cudaDeviceSynchronize() {
  const cudaError_t refused = simt::capture::check_wait("cudaDeviceSynchronize", nullptr);
  if (refused != cudaSuccess) return simt::result(refused);
  return simt::result(simt::streams::wait_for_all());
}

cudaError_t CUDARTAPI cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  CUstream_st& stream = simt::streams::of(handle);
  if (event->captured != (stream.capture != nullptr))
    return simt::result(simt::capture::check_wait("cudaStreamWaitEvent across a captured stream", nullptr));
  stream.clock.merge(event->clock);
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t CUDARTAPI cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  CUstream_st& stream = simt::streams::of(handle);
  event->captured = stream.capture != nullptr;
  const cudaError_t entered = simt::streams::enter(
      handle, "cudaEventRecord", [time = event->time] { *time = std::chrono::steady_clock::now(); });
  event->clock = stream.clock;
  return simt::result(entered);
}

cudaError_t CUDARTAPI cudaEventSynchronize(cudaEvent_t event) {
  const cudaError_t refused =
      event->captured ? simt::capture::check_wait("cudaEventSynchronize", nullptr) : cudaSuccess;
  return simt::result(refused != cudaSuccess ? refused : simt::streams::wait_for(event->clock));
}

cudaError_t CUDARTAPI cudaEventQuery(cudaEvent_t event) {
  const cudaError_t refused =
      event->captured ? simt::capture::check_wait("cudaEventQuery", nullptr) : cudaSuccess;
  return refused != cudaSuccess ? simt::result(refused) : simt::query(event->clock);
}

cudaError_t CUDARTAPI cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  if (!simt::streams::is_over(begin->clock) || !simt::streams::is_over(end->clock)) return cudaErrorNotReady;
  *ms = std::chrono::duration<float, std::milli>(*end->time - *begin->time).count();
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return simt::result(simt::capture::begin(stream, mode));
}

cudaError_t CUDARTAPI cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return simt::result(simt::capture::end(stream, graph));
}

cudaError_t CUDARTAPI cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (!graph) return simt::result(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{graph->operations};
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (!exec) return simt::result(cudaErrorInvalidValue);
  ++simt::counters().graph_launches;
  for (const simt::Operation& operation : exec->operations)
    if (const cudaError_t entered = simt::streams::enter(stream, operation.name, operation.run);
        entered != cudaSuccess)
      return simt::result(entered);
  return cudaSuccess;
}

}  // extern "C"
