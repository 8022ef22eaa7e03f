#include "core/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/control_group.h"
#include "core/error.h"

namespace moe {
namespace {

// Workers watch for new work this many rounds (some 20 µs) before they sleep: longer than the gap between two
// operations of a step, far shorter than anything that would starve other programs.
constexpr int kSpinRounds = 2000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Waits for `done` with a short watch first and then by giving way to other threads and programs.
template <class Done>
void wait_until(Done done) {
  for (int round = 0; !done(); ++round) {
    if (round < kSpinRounds)
      relax();
    else
      std::this_thread::yield();
  }
}

// A run of tasks is open from its start until the caller finds no task left. Workers that arrive in time join
// it; the caller waits for those that joined and for no others, so a worker that the system keeps from
// running costs nothing.
//
// Every thread has a share of the tasks, the same part of all in every run, and takes from the others' when
// its own is done: what a thread wrote in one operation is in its cache when it reads it in the next.
class Pool {
 public:
  explicit Pool(int threads) : shares_(static_cast<size_t>(threads)) {
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(static_cast<size_t>(i)); });
    } catch (const std::system_error&) {
      stop();
      throw error(ErrorKind::resource, "the system starts no more than {} of {} threads", this->threads(),
                  threads);
    }
  }
  ~Pool() { stop(); }

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // False, and nothing has run, when another thread has the pool.
  bool run(int64_t tasks, detail::TaskRef task) {
    const std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    bool somebody_sleeps = false;
    {
      std::lock_guard lock(mutex_);
      task_ = task;
      const auto threads = static_cast<int64_t>(shares_.size());
      for (int64_t i = 0; i < threads; ++i) {
        Share& share = shares_[static_cast<size_t>(i)];
        share.next.store(i * tasks / threads, std::memory_order_relaxed);
        share.end = (i + 1) * tasks / threads;
      }
      open_ = true;
      generation_.fetch_add(1, std::memory_order_release);
      somebody_sleeps = sleeping_ > 0;
    }
    if (somebody_sleeps) wake_.notify_all();
    drain(task, 0);
    {
      std::lock_guard lock(mutex_);
      open_ = false;
    }
    wait_until([&] { return joined_.load(std::memory_order_acquire) == 0; });
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    return true;
  }

  // While it lives, calls of this thread run their tasks in order here.
  class InsideTask {
   public:
    InsideTask() : before_(std::exchange(inside_task, true)) {}
    ~InsideTask() { inside_task = before_; }
    InsideTask(const InsideTask&) = delete;
    InsideTask& operator=(const InsideTask&) = delete;

   private:
    bool before_;
  };

  static thread_local bool inside_task;

 private:
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& w : workers_) w.join();
  }

  void drain(detail::TaskRef task, size_t thread) {
    const InsideTask inside;
    try {
      for (size_t i = 0; i < shares_.size(); ++i) {
        Share& share = shares_[(thread + i) % shares_.size()];
        for (int64_t t; (t = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;)
          task.call(task.object, t);
      }
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      for (Share& share : shares_) share.next.store(share.end, std::memory_order_relaxed);
    }
  }

  void work(size_t thread) {
    uint64_t seen = 0;
    for (;;) {
      for (int round = 0; round < kSpinRounds && generation_.load(std::memory_order_acquire) == seen; ++round)
        relax();
      detail::TaskRef task{};
      {
        std::unique_lock lock(mutex_);
        ++sleeping_;
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        --sleeping_;
        seen = generation_.load(std::memory_order_acquire);
        if (stop_) return;
        if (!open_) continue;
        task = task_;
        joined_.fetch_add(1, std::memory_order_relaxed);
      }
      drain(task, thread);
      joined_.fetch_sub(1, std::memory_order_release);
    }
  }

  struct alignas(64) Share {  // a line of the cache for each
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  std::vector<Share> shares_;
  std::vector<std::thread> workers_;
  std::mutex turn_;   // held by the thread whose run it is
  std::mutex mutex_;  // guards what follows up to failure_
  std::condition_variable wake_;
  detail::TaskRef task_{};
  int sleeping_ = 0;
  bool open_ = false, stop_ = false;
  std::exception_ptr failure_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> joined_{0};
};

thread_local bool Pool::inside_task = false;

std::unique_ptr<Pool>& pool() {
  static auto instance = std::make_unique<Pool>(available_cores());
  return instance;
}

// The least CPU quota of the control groups in cores, rounded up; INT_MAX when there is none.
int quota_cores() {
  double least = INT_MAX;
  const auto take = [&](double quota, double period) {
    if (quota > 0 && period > 0) least = std::min(least, std::ceil(quota / period));
  };
  for (const auto& folder : control_group_folders("cpu")) {
    std::ifstream both(folder / "cpu.max");  // "max 100000" where there is none
    std::ifstream quota_file(folder / "cpu.cfs_quota_us"), period_file(folder / "cpu.cfs_period_us");
    double quota = 0, period = 0;
    if (both >> quota >> period) take(quota, period);
    if (quota_file >> quota && period_file >> period) take(quota, period);
  }
  return static_cast<int>(least);
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  return std::max(std::min(cores, quota_cores()), 1);
}

void set_threads(int threads) {
  const int wanted = threads > 0 ? threads : available_cores();
  if (pool()->threads() != wanted) pool() = std::make_unique<Pool>(wanted);
}

int threads() {
  return pool()->threads();
}

namespace detail {

void run_tasks(int64_t tasks, TaskRef task) {
  if (tasks <= 0) return;
  const bool alone = tasks == 1 || Pool::inside_task || pool()->threads() == 1;
  if (!alone && pool()->run(tasks, task)) return;
  const Pool::InsideTask inside;
  for (int64_t i = 0; i < tasks; ++i) task.call(task.object, i);
}

}  // namespace detail
}  // namespace moe
