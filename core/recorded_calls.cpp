#include "core/recorded_calls.h"

namespace moe {

thread_local RecordedCalls* RecordedCalls::recording = nullptr;

RecordedCalls RecordedCalls::of(const std::function<void()>& work) {
  struct Scope {
    RecordedCalls* before;
    ~Scope() { recording = before; }
  };
  RecordedCalls calls;
  const Scope scope{std::exchange(recording, &calls)};
  work();
  return calls;
}

void RecordedCalls::repeat() const {
  for (const auto& call : calls_) call();
}

}  // namespace moe
