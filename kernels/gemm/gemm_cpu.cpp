// C is cut into parts of at most kMostRows x kMostColumns, one task each, which the best instruction set of
// this processor computes (multiply.h).

#include <algorithm>
#include <iterator>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/parts.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace detail {
namespace {

// Multiply-adds, about 10 µs of them: below, waking another thread may cost more than it brings. An element
// of B that meets few rows takes as long as it takes to come from beyond the caches.
constexpr int64_t kWorthThreads = int64_t{1} << 19;
constexpr int64_t kRowsPerFetch = 8;

// [0, size) cut into the fewest stripes of at most `limit`, about equal, whole multiples of `unit` but the
// last.
struct Stripes {
  int64_t size, count, width;

  Stripes(int64_t size_, int64_t limit, int64_t unit)
      : size(size_), count((size + limit - 1) / limit), width(count ? (size + count - 1) / count : 0) {
    width = (width + unit - 1) / unit * unit;
  }
  int64_t begin(int64_t i) const { return std::min(size, i * width); }
};

// A product's parts, and the task that computes its first one. Columns are narrower where nothing is packed:
// more tasks to share.
template <class T>
struct Cut {
  Cut(const Gemm<T>& p, int64_t task)
      : product(&p),
        rows(p.m, kMostRows, kTileRows),
        columns(p.n, p.b_packed ? kSliverColumns : kMostColumns, kTileColumns),
        first_task(task) {}

  int64_t tasks() const { return rows.count * columns.count; }
  // `squares`: of all tasks.
  Part<T> part(int64_t task, double* squares) const {
    const int64_t i = (task - first_task) / columns.count, j = (task - first_task) % columns.count;
    return {product,          rows.begin(i),        rows.begin(i + 1),
            columns.begin(j), columns.begin(j + 1), product->squares ? squares + task : nullptr};
  }

  const Gemm<T>* product;
  Stripes rows, columns;
  int64_t first_task;
};

void multiply(const InstructionSet& set, const Part<float>& part, float* memory) {
  set.multiply_floats(part, memory);
}
void multiply(const InstructionSet& set, const Part<double>& part, double* memory) {
  set.multiply_doubles(part, memory);
}

std::vector<InstructionSet> find_instruction_sets() {
  std::vector<InstructionSet> sets;
#ifdef MOE_CHOOSE_INSTRUCTION_SET
  const bool fuses = __builtin_cpu_supports("fma");
  if (fuses && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    sets.push_back(kAvx512Set);
  if (fuses && __builtin_cpu_supports("avx2")) sets.push_back(kAvx2Set);
#endif
  sets.push_back(kBuildSet);
  return sets;
}

}  // namespace

std::span<const InstructionSet> instruction_sets() {
  static const std::vector<InstructionSet> sets = find_instruction_sets();
  return sets;
}

template <class T>
void gemm(std::span<const Gemm<T>> problems, const InstructionSet& set) {
  int64_t tasks = 0, work = 0;
  thread_local std::vector<double> memory;
  thread_local std::vector<Cut<T>> memory_of_cuts;
  memory_of_cuts.clear();
  for (const Gemm<T>& p : problems) {
    const Cut<T> cut(p, tasks);
    if (cut.tasks() == 0) continue;
    memory_of_cuts.push_back(cut);
    tasks += cut.tasks();
    work += std::max(p.m, kRowsPerFetch) * p.n * p.k;
  }
  memory.resize(static_cast<size_t>(tasks));
  double* const squares = memory.data();
  const std::span<const Cut<T>> cuts = memory_of_cuts;  // this thread's, for all that compute
  const auto run = [cuts, &set, squares](int64_t task) {
    const auto behind = std::upper_bound(cuts.begin(), cuts.end(), task,
                                         [](int64_t t, const Cut<T>& cut) { return t < cut.first_task; });
    const Part<T> part = std::prev(behind)->part(task, squares);
    multiply(set, part, thread_scratch<T>(work_memory(part.product->k)));
  };
  if (work < kWorthThreads)
    for (int64_t task = 0; task < tasks; ++task) run(task);
  else
    parallel_for(tasks, run);
  for (const Cut<T>& cut : cuts)
    if (double* const sum = cut.product->squares)
      for (int64_t task = 0; task < cut.tasks(); ++task) *sum += squares[cut.first_task + task];
}

template void gemm(std::span<const Gemm<float>>, const InstructionSet&);
template void gemm(std::span<const Gemm<double>>, const InstructionSet&);

}  // namespace detail

template <class T>
void gemm(std::span<const Gemm<T>> problems) {
  detail::gemm(problems, detail::instruction_sets().front());
}

template void gemm(std::span<const Gemm<float>>);
template void gemm(std::span<const Gemm<double>>);

// A sliver's elements are the same before and after.
template <class T>
void pack_columns(int64_t n, int64_t k, T* b) {
  require(n % kSliverColumns == 0, "pack_columns: {} columns are no multiple of {}", n, kSliverColumns);
  parallel_for(n / kSliverColumns, [=](int64_t task) {
    T *const sliver = b + task * kSliverColumns * k, *const copy = thread_scratch<T>(kSliverColumns * k);
    std::copy_n(sliver, kSliverColumns * k, copy);
    for (int64_t l = 0; l < k; ++l)
      for (int64_t j = 0; j < kSliverColumns; ++j) sliver[packed_index(k, l, j)] = copy[j * k + l];
  });
}

template void pack_columns(int64_t, int64_t, float*);
template void pack_columns(int64_t, int64_t, double*);

}  // namespace moe::kernels::cpu
