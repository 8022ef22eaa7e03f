#pragma once
// One pool of threads for the whole process.
//
// Results never depend on the number of threads: work is cut into tasks by its size alone, every task owns
// its outputs, and sums over tasks are added up in task order by the caller.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <type_traits>

namespace moe {

// The cores this process may really use: its affinity mask and the CPU quota of its control group
// and of those above it, at least 1.
int available_cores();

// The number of threads that run tasks, the caller's included; starts as available_cores().
// set_threads(0) restores that default. Not to be called while tasks run.
void set_threads(int threads);
int threads();

namespace detail {
// A reference to a callable, without the allocation of std::function.
struct TaskRef {
  void* object;
  void (*call)(void* object, int64_t task);
};
void run_tasks(int64_t tasks, TaskRef task);
}  // namespace detail

// Calls task(i) once for each i in [0, tasks), on any thread, in any order, and returns when all are done.
// The first exception that a task throws is thrown again here. A call from inside a task runs its tasks in
// order on that thread, and so does a call while another thread has the pool.
template <class Task>
void parallel_for(int64_t tasks, Task&& task) {
  using Object = std::remove_reference_t<Task>;
  detail::run_tasks(tasks, {const_cast<void*>(static_cast<const void*>(&task)),
                            [](void* object, int64_t i) { (*static_cast<Object*>(object))(i); }});
}

// A grain for the following: so many items of `width` elements that a task has about `elements`.
inline int64_t items_per_task(int64_t elements, int64_t width) {
  return std::max<int64_t>(1, elements / std::max<int64_t>(1, width));
}

// Cuts [0, items) into ranges of `grain` items and calls body(begin, end) for each.
template <class Body>
void parallel_ranges(int64_t items, int64_t grain, Body&& body) {
  parallel_for((items + grain - 1) / grain, [&](int64_t task) {
    const int64_t begin = task * grain;
    const int64_t end = begin + grain < items ? begin + grain : items;
    body(begin, end);
  });
}

}  // namespace moe
