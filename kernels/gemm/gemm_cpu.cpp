// C is cut into tiles of at most kTaskRows x kTaskColumns; a task owns one and packs what it needs of A and
// B. Inside a task, k goes in blocks of kBlock: B's part of the block is packed once, into slivers of
// Tile<T>::kColumns columns that stay in the second-level cache, and then A's, one panel of kRows rows at a
// time, which stays in the first-level cache while it meets every sliver. (Goto and van de Geijn, "Anatomy of
// high-performance matrix multiplication", ACM TOMS 34(3), 2008.)
//
// An element is thus the sum over blocks of k of one chain of multiply-adds each. Neither kBlock nor the
// chain depends on anything but k, which is what the contract promises about bits.
//
// The build lets the compiler fuse multiplication and addition in this file (see kernels/CMakeLists.txt).

#include <algorithm>
#include <memory>

#include "core/parallel.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/micro_kernel.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kBlock = 256;        // of k
constexpr int64_t kTaskColumns = 128;  // a multiple of every Tile<T>::kColumns
constexpr int64_t kTaskRows = 132;     // a multiple of kRows
// Multiply-adds, about 10 µs of them: below, waking another thread may cost more than it brings.
constexpr int64_t kWorthThreads = int64_t{1} << 19;

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

template <class T>
struct Panels {
  alignas(64) T a[kBlock * detail::Tile<T>::kPanelRows];
  alignas(64) T b[kBlock * kTaskColumns];
};

// Rows [i, i + rows) of A, steps [l, l + k).
template <class T>
void pack_a(const Gemm<T>& p, int64_t i, int64_t rows, int64_t l, int64_t k, T* panel) {
  using detail::Tile;
  if (k == 0) return;
  if (p.a_transposed)
    detail::pack_straight<detail::kRows>(p.a + l * p.lda + i, p.lda, k, rows, panel, Tile<T>::kPanelRows);
  else
    detail::pack_transposed(p.a + i * p.lda + l, p.lda, k, rows, panel, Tile<T>::kPanelRows);
}

// Columns [j, j + columns) of B, steps [l, l + k): a sliver of one or two vectors.
template <class T>
void pack_b(const Gemm<T>& p, int64_t j, int64_t columns, int64_t l, int64_t k, T* sliver) {
  using Tile = detail::Tile<T>;
  if (k == 0) return;
  const int64_t width = columns > Tile::kLanes ? Tile::kColumns : Tile::kLanes;
  if (p.b_transposed)
    detail::pack_transposed(p.b + j * p.ldb + l, p.ldb, k, columns, sliver, width);
  else
    detail::pack_straight<Tile::kColumns>(p.b + l * p.ldb + j, p.ldb, k, columns, sliver, width);
}

// Rows [i0, i1) and columns [j0, j1) of p.
template <class T>
void multiply(const Gemm<T>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  using detail::kRows;
  using Tile = detail::Tile<T>;
  thread_local const auto panels = std::make_unique_for_overwrite<Panels<T>>();
  int64_t l = 0;
  do {  // at least once: k = 0 writes bias and C
    const int64_t k = std::min(kBlock, p.k - l);
    for (int64_t j = j0; j < j1; j += Tile::kColumns)
      pack_b(p, j, std::min<int64_t>(j1 - j, Tile::kColumns), l, k, panels->b + (j - j0) * kBlock);
    for (int64_t i = i0; i < i1; i += kRows) {
      const int64_t rows = std::min<int64_t>(i1 - i, kRows);
      pack_a(p, i, rows, l, k, panels->a);
      for (int64_t j = j0; j < j1; j += Tile::kColumns) {
        const int64_t columns = std::min<int64_t>(j1 - j, Tile::kColumns);
        const auto& compute =
            columns > Tile::kLanes ? detail::kTileFunctions<T, 2> : detail::kTileFunctions<T, 1>;
        compute[static_cast<size_t>(rows - 1)](k, panels->a, panels->b + (j - j0) * kBlock,
                                               {.c = p.c + i * p.ldc + j,
                                                .ldc = p.ldc,
                                                .columns = columns,
                                                .bias = p.bias && l == 0 ? p.bias + j : nullptr,
                                                .accumulate = p.accumulate || l > 0});
      }
    }
    l += k;
  } while (l < p.k);
}

template <class T>
Stripes row_stripes(const Gemm<T>& p) {
  return {p.m, kTaskRows, detail::kRows};
}

template <class T>
Stripes column_stripes(const Gemm<T>& p) {
  return {p.n, kTaskColumns, detail::Tile<T>::kColumns};
}

}  // namespace

template <class T>
void gemm(std::span<const Gemm<T>> problems) {
  int64_t tasks = 0, work = 0;
  for (const Gemm<T>& p : problems) {
    tasks += row_stripes(p).count * column_stripes(p).count;
    work += p.m * p.n * p.k;
  }
  const auto run = [problems](int64_t task) {
    for (const Gemm<T>& p : problems) {
      const Stripes rows = row_stripes(p), columns = column_stripes(p);
      if (task < rows.count * columns.count) {
        const int64_t i = task / columns.count, j = task % columns.count;
        return multiply(p, rows.begin(i), rows.begin(i + 1), columns.begin(j), columns.begin(j + 1));
      }
      task -= rows.count * columns.count;
    }
  };
  if (work < kWorthThreads)
    for (int64_t task = 0; task < tasks; ++task) run(task);
  else
    parallel_for(tasks, run);
}

template void gemm(std::span<const Gemm<float>>);
template void gemm(std::span<const Gemm<double>>);

}  // namespace moe::kernels::cpu
