#pragma once
// Streams. What the host enters into one is not done at once but kept until the host waits for it, so that
// host code that forgets to wait sees old values. Of several streams only what is waited for is done; the
// rest stays.
//
// Which operation comes after which is kept in vector clocks: for each stream, how many of its operations are
// over.

#include <driver_types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace simt {

// clock[s]: how many operations of stream s. What is not there is 0.
class Clock {
 public:
  uint64_t operator[](size_t stream) const { return stream < counts_.size() ? counts_[stream] : 0; }
  size_t size() const { return counts_.size(); }
  void raise(size_t stream, uint64_t count);
  void merge(const Clock&);

 private:
  std::vector<uint64_t> counts_;
};

struct Operation {
  std::string name;  // for reports
  std::function<void()> run;
  Clock after;  // what is over before it begins
};

struct Capture;

}  // namespace simt

struct CUstream_st {
  size_t id = 0;
  bool waits_for_legacy = true;  // as every stream but those made with cudaStreamNonBlocking
  std::deque<simt::Operation> queue;
  uint64_t done = 0;
  simt::Clock clock;  // of its last operation, itself included
  std::shared_ptr<simt::Capture> capture;

  uint64_t entered() const { return done + queue.size(); }
};

namespace simt::streams {

// Whether operations wait in their queues, or run as they are entered. The latter under AddressSanitizer
// unless a test says otherwise: a host that runs ahead gives memory back to its arena while kernels that use
// it still wait, rightly so, and AddressSanitizer would stop at them.
bool& deferred();

// The stream of a handle; nullptr is the legacy default stream.
CUstream_st& of(cudaStream_t);
cudaStream_t create(bool waits_for_legacy);
// Does what is entered, of which the host still knows nothing: a GPU does it some time later.
void destroy(cudaStream_t);

// Enters an operation, or adds it to the graph that the stream captures.
cudaError_t enter(cudaStream_t, std::string name, std::function<void()> run);

// Runs all that the clock names, and counts as a wait of the host. From then on the host, and all it enters
// later, comes after that.
cudaError_t wait_for(const Clock&);
cudaError_t wait_for_all();  // for all that is entered
bool is_over(const Clock&);
// One operation towards the clock, for a host that asks again and again.
void step_towards(const Clock&);

// A kernel that cannot go on: the next wait returns cudaErrorLaunchFailure.
void fail();

}  // namespace simt::streams
