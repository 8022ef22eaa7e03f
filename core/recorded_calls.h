#pragma once
// Calls of CPU kernels that are recorded once and made again, for work that is the same every time but for
// the numbers in its memory: what a graph is on a GPU (core/cuda_graph.h). What happens around the calls,
// from checks of shapes to the arena, happens once; between two short kernels it would take as long as they
// do.

#include <functional>
#include <utility>
#include <vector>

namespace moe {

class RecordedCalls {
 public:
  // Runs `work` and records the calls that it makes with run_recorded on this thread. Their arguments are
  // kept as they are: memory that they point to must stay where it is (Arena::lend_to_graph).
  static RecordedCalls of(const std::function<void()>& work);

  bool empty() const { return calls_.empty(); }
  // Makes the calls again, in order.
  void repeat() const;

 private:
  template <class Call>
  friend void run_recorded(const Call& call);
  static thread_local RecordedCalls* recording;

  std::vector<std::function<void()>> calls_;
};

// call(), which joins the recording that is going on on this thread, if there is one. It is copied: it holds
// by value whatever it needs.
template <class Call>
void run_recorded(const Call& call) {
  call();
  if (RecordedCalls* const all = RecordedCalls::recording) all->calls_.emplace_back(call);
}

}  // namespace moe
