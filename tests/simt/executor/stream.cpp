#include "stream.h"

#include <algorithm>
#include <utility>

#include "counters.h"
#include "graph.h"
#include "race.h"
#include "schedule.h"

namespace simt {

void Clock::raise(size_t stream, uint64_t count) {
  if (stream >= counts_.size()) counts_.resize(stream + 1);
  counts_[stream] = std::max(counts_[stream], count);
}

void Clock::merge(const Clock& other) {
  for (size_t s = 0; s < other.size(); ++s) raise(s, other[s]);
}

namespace streams {
namespace {

struct Streams {
  std::vector<std::unique_ptr<CUstream_st>> all;  // by id; nullptr once destroyed
  Clock host;                                     // what the host has waited for
  bool failed = false;
  Random random{1};

  Streams() { all.push_back(std::make_unique<CUstream_st>()); }  // 0: the legacy stream
};

Streams& streams() {
  static Streams s;
  return s;
}

void run_first(CUstream_st&);

void run_up_to(CUstream_st& stream, uint64_t count) {
  while (stream.done < count && !stream.queue.empty()) run_first(stream);
}

void run_all(const Clock& clock) {
  for (size_t s = 0; s < clock.size(); ++s)
    if (CUstream_st* const stream = streams().all[s].get()) run_up_to(*stream, clock[s]);
}

// After everything that it has to come after.
void run_first(CUstream_st& stream) {
  Operation operation = std::move(stream.queue.front());
  for (size_t s = 0; s < operation.after.size(); ++s)
    if (s != stream.id && streams().all[s]) run_up_to(*streams().all[s], operation.after[s]);
  stream.queue.pop_front();
  ++stream.done;
  race::begin_operation(operation.name, stream.id, stream.done, operation.after);
  operation.run();
  race::end_operation();
}

cudaError_t status() {
  return std::exchange(streams().failed, false) ? cudaErrorLaunchFailure : cudaSuccess;
}

}  // namespace

bool& deferred() {
#if defined(__SANITIZE_ADDRESS__)
  static bool on = false;
#else
  static bool on = true;
#endif
  return on;
}

CUstream_st& of(cudaStream_t stream) {
  return stream == nullptr || stream == cudaStreamLegacy ? *streams().all[0] : *stream;
}

cudaStream_t create(bool waits_for_legacy) {
  auto& all = streams().all;
  all.push_back(std::make_unique<CUstream_st>());
  all.back()->id = all.size() - 1;
  all.back()->waits_for_legacy = waits_for_legacy;
  return all.back().get();
}

void destroy(cudaStream_t stream) {
  run_up_to(*stream, stream->entered());
  streams().all[stream->id].reset();
}

cudaError_t enter(cudaStream_t handle, std::string name, std::function<void()> run) {
  CUstream_st& stream = of(handle);
  if (stream.capture) return capture::add(*stream.capture, {std::move(name), std::move(run), {}});
  Streams& all = streams();
  stream.clock.merge(all.host);
  if (stream.id == 0) {
    if (const cudaError_t refused = capture::use_of_legacy_stream(); refused != cudaSuccess) return refused;
    for (const auto& other : all.all)
      if (other && other->waits_for_legacy) stream.clock.merge(other->clock);
  } else if (stream.waits_for_legacy) {
    stream.clock.merge(all.all[0]->clock);
  }
  stream.queue.push_back({std::move(name), std::move(run), stream.clock});
  stream.clock.raise(stream.id, stream.entered());
  if (!deferred()) run_up_to(stream, stream.entered());
  return cudaSuccess;
}

cudaError_t wait_for(const Clock& clock) {
  ++counters().host_syncs;
  run_all(clock);
  streams().host.merge(clock);
  return status();
}

cudaError_t wait_for_all() {
  ++counters().host_syncs;
  Streams& all = streams();
  for (;;) {
    std::vector<CUstream_st*> busy;
    for (const auto& stream : all.all)
      if (stream && !stream->queue.empty()) busy.push_back(stream.get());
    if (busy.empty()) break;
    const size_t next = options().schedule == Schedule::forward ? 0
                        : options().schedule == Schedule::reverse
                            ? busy.size() - 1
                            : all.random.below(static_cast<uint32_t>(busy.size()));
    run_first(*busy[next]);
  }
  for (const auto& stream : all.all)
    if (stream) all.host.merge(stream->clock);
  return status();
}

bool is_over(const Clock& clock) {
  for (size_t s = 0; s < clock.size(); ++s)
    if (const CUstream_st* const stream = streams().all[s].get(); stream && stream->done < clock[s])
      return false;
  return true;
}

void step_towards(const Clock& clock) {
  for (size_t s = 0; s < clock.size(); ++s)
    if (CUstream_st* const stream = streams().all[s].get(); stream && stream->done < clock[s])
      return run_up_to(*stream, stream->done + 1);
}

void fail() {
  streams().failed = true;
}

}  // namespace streams
}  // namespace simt
