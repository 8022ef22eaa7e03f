#include "graph.h"

#include <fmt/format.h>

#include <utility>

#include "fault.h"

namespace simt::capture {
namespace {

std::shared_ptr<Capture>& current() {
  static std::shared_ptr<Capture> c;
  return c;
}

cudaError_t lose(const char* call, cudaError_t why) {
  current()->lost = true;
  report(FaultKind::capture, fmt::format("{} while a stream is captured: {}", call, cudaGetErrorString(why)));
  return why;
}

}  // namespace

cudaError_t begin(cudaStream_t handle, cudaStreamCaptureMode mode) {
  CUstream_st& stream = streams::of(handle);
  if (stream.id == 0) {
    report(FaultKind::capture, "the legacy default stream cannot be captured");
    return cudaErrorStreamCaptureUnsupported;
  }
  if (current()) {
    report(FaultKind::capture, "a second capture begins before the first has ended");
    return cudaErrorIllegalState;
  }
  current() = stream.capture = std::make_shared<Capture>();
  stream.capture->strict = mode != cudaStreamCaptureModeRelaxed;
  stream.capture->waits_for_legacy = stream.waits_for_legacy;
  return cudaSuccess;
}

cudaError_t end(cudaStream_t handle, cudaGraph_t* graph) {
  CUstream_st& stream = streams::of(handle);
  *graph = nullptr;
  if (!stream.capture) {
    report(FaultKind::capture, "cudaStreamEndCapture of a stream that is not captured");
    return cudaErrorIllegalState;
  }
  const std::shared_ptr<Capture> ended = std::exchange(stream.capture, nullptr);
  current() = nullptr;
  if (ended->lost) return cudaErrorStreamCaptureInvalidated;
  *graph = new CUgraph_st(std::move(ended->graph));
  return cudaSuccess;
}

cudaError_t add(Capture& c, Operation operation) {
  if (c.lost) return cudaErrorStreamCaptureInvalidated;
  c.graph.operations.push_back(std::move(operation));
  return cudaSuccess;
}

cudaError_t check_wait(const char* call, const CUstream_st* stream) {
  if (!current() || (stream && stream->capture != current())) return cudaSuccess;
  return lose(call, cudaErrorStreamCaptureUnsupported);
}

cudaError_t check_unsafe(const char* call) {
  if (!current() || !current()->strict) return cudaSuccess;
  return lose(call, cudaErrorStreamCaptureUnsupported);
}

cudaError_t use_of_legacy_stream() {
  if (!current() || !current()->waits_for_legacy) return cudaSuccess;
  return lose("use of the default stream", cudaErrorStreamCaptureImplicit);
}

}  // namespace simt::capture
