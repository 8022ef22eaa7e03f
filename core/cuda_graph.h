#pragma once
// Streams, events and graphs of the GPU, for builds with CUDA kernels (kWithCuda). Compiled without CUDA
// headers. A handle's last copy destroys what it stands for.
//
// Errors: ErrorKind::runtime with CUDA's own words.

#include <cstddef>
#include <functional>
#include <memory>

#include "core/device.h"

struct CUevent_st;
struct CUgraphExec_st;

namespace moe::cuda {

// A stream of its own. What runs on the default stream, which is where a thread starts, still waits for it,
// and it for that.
using OwnedStream = std::shared_ptr<CUstream_st>;
OwnedStream make_stream();

// Makes a stream the thread's own for a while.
class StreamScope {
 public:
  explicit StreamScope(Stream stream) : before_(current_stream()) { set_current_stream(stream); }
  ~StreamScope() { set_current_stream(before_); }
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Stream before_;
};

// A place in a stream's work.
using Event = std::shared_ptr<CUevent_st>;
Event make_event();
void record(const Event&, Stream);
bool is_over(const Event&);
void wait_for(const Event&);
// Both must be over.
double seconds_between(const Event& begin, const Event& end);

// Host memory that a stream copies from and to while the host goes on.
using PinnedMemory = std::shared_ptr<std::byte>;
PinnedMemory make_pinned(size_t bytes);

// Work that was recorded once and is launched as one. What `work` launches on the stream is recorded, not
// run; it may neither wait nor allocate, and all memory it uses must stay.
using Graph = std::shared_ptr<CUgraphExec_st>;
Graph capture(Stream, const std::function<void()>& work);
void launch(const Graph&, Stream);

}  // namespace moe::cuda
