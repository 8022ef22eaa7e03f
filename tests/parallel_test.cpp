// The pool of threads.

#include "core/parallel.h"

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/catch.h"

namespace moe {
namespace {

struct ThreadCount {
  explicit ThreadCount(int n) { set_threads(n); }
  ~ThreadCount() { set_threads(0); }
};

constexpr int kThreadCounts[] = {1, 2, 3, 7};

}  // namespace

TEST_CASE("every task runs once", "[parallel]") {
  for (const int n : kThreadCounts) {
    const ThreadCount count(n);
    CHECK(threads() == n);
    for (const int64_t tasks : {0, 1, 2, 5, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      parallel_for(tasks, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
      for (const auto& r : runs) CHECK(r == 1);
    }
  }
}

TEST_CASE("what tasks wrote is there when parallel_for returns, run after run", "[parallel]") {
  for (const int n : kThreadCounts) {
    const ThreadCount count(n);
    std::vector<int64_t> values(37);  // not atomic: returning must order the writes before the reads
    for (int64_t round = 0; round < 2000; ++round) {
      parallel_for(37, [&](int64_t i) { values[static_cast<size_t>(i)] += i + round; });
      if (round % 100 == 99) std::this_thread::yield();
    }
    for (int64_t i = 0; i < 37; ++i) CHECK(values[static_cast<size_t>(i)] == 2000 * i + 1999 * 1000);
  }
}

TEST_CASE("sleeping workers wake up", "[parallel]") {
  const ThreadCount count(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int64_t> sum{0};
    parallel_for(100, [&](int64_t i) { sum += i; });
    CHECK(sum == 4950);
  }
}

TEST_CASE("an exception in a task reaches the caller, and the pool works on", "[parallel]") {
  for (const int n : kThreadCounts) {
    const ThreadCount count(n);
    for (int round = 0; round < 20; ++round) {
      CHECK_THROWS_WITH(parallel_for(50,
                                     [](int64_t i) {
                                       if (i == 17) throw std::runtime_error("task 17");
                                     }),
                        "task 17");
      CHECK_THROWS_AS(parallel_for(50, [](int64_t) { throw std::runtime_error("all of them"); }),
                      std::runtime_error);
      std::atomic<int> runs{0};
      parallel_for(50, [&](int64_t) { ++runs; });
      CHECK(runs == 50);
    }
  }
}

TEST_CASE("a call from inside a task runs its tasks in order on that thread", "[parallel]") {
  const ThreadCount count(3);
  const size_t tasks = GENERATE(size_t{1}, size_t{8});
  std::vector<std::vector<int64_t>> order(tasks);
  std::vector<std::atomic<int>> strangers(tasks);
  parallel_for(static_cast<int64_t>(tasks), [&](int64_t outer) {
    const auto o = static_cast<size_t>(outer);
    const auto me = std::this_thread::get_id();
    parallel_for(20, [&](int64_t inner) {
      order[o].push_back(inner);
      strangers[o] += std::this_thread::get_id() != me;
    });
  });
  std::vector<int64_t> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  for (size_t o = 0; o < tasks; ++o) {
    CHECK(order[o] == expected);
    CHECK(strangers[o] == 0);
  }
}

TEST_CASE("threads of the caller's own may use the pool at the same time", "[parallel]") {
  const ThreadCount count(3);
  std::atomic<int64_t> sums[3] = {};
  std::vector<std::thread> callers;
  for (auto& sum : sums)
    callers.emplace_back([&sum] {
      for (int round = 0; round < 300; ++round) parallel_for(20, [&](int64_t i) { sum += i; });
    });
  for (std::thread& t : callers) t.join();
  for (const auto& sum : sums) CHECK(sum == 300 * 190);
}

TEST_CASE("ranges cover all items once, cut by size alone", "[parallel]") {
  for (const int n : kThreadCounts) {
    const ThreadCount count(n);
    for (const int64_t items : {0, 1, 9, 10, 11, 95}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(items));
      std::atomic<int> ranges{0};
      parallel_ranges(items, 10, [&](int64_t begin, int64_t end) {
        ++ranges;
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      CHECK(ranges == (items + 9) / 10);
      for (const auto& s : seen) CHECK(s == 1);
    }
  }
}

TEST_CASE("the default number of threads comes back with 0", "[parallel]") {
  set_threads(2);
  CHECK(threads() == 2);
  set_threads(0);
  CHECK(threads() == available_cores());
  CHECK(threads() >= 1);
}

}  // namespace moe
