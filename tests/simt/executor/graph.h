#pragma once
// Capturing a stream into a graph, and the rules that hold meanwhile: nothing may wait for the stream,
// allocate, or touch the legacy default stream. A call that breaks one is reported, fails as it does on a
// GPU, and the capture is lost. One stream is captured at a time; work that forks to another stream by an
// event is refused.

#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <vector>

#include "stream.h"

struct CUgraph_st {
  std::vector<simt::Operation> operations;
};
struct CUgraphExec_st {
  std::vector<simt::Operation> operations;
};

namespace simt {

struct Capture {
  CUgraph_st graph;
  bool strict = true;  // not cudaStreamCaptureModeRelaxed: allocations and the like are forbidden
  bool waits_for_legacy = true;
  bool lost = false;
};

namespace capture {

cudaError_t begin(cudaStream_t, cudaStreamCaptureMode);
cudaError_t end(cudaStream_t, cudaGraph_t*);
cudaError_t add(Capture&, Operation);

// Whether a call is allowed now. If not it is reported, and any capture under way is lost.
cudaError_t check_wait(const char* call, const CUstream_st* stream);  // nullptr: for the whole device
cudaError_t check_unsafe(const char* call);
cudaError_t use_of_legacy_stream();

}  // namespace capture
}  // namespace simt
