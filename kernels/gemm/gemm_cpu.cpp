// C is cut into parts of at most kTaskRows x kTaskColumns, one task each. Inside a task, k goes in blocks of
// kBlock; a block of B is packed into slivers of a tile's width, which stay in the second-level cache, and
// each of them meets all rows of A in tiles of registers (micro_kernel.h). A is read where it lies. (Goto and
// van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008, pack A as well:
// their A does not fit into the second-level cache, ours does.)
//
// With few rows, packing a transposed B would cost more than the product. Then C^T = B^T A^T is computed: B's
// columns, which are contiguous, take the role of A's rows, A is packed, and tiles are turned around on their
// way to C.
//
// Either way an element is the sum over blocks of k of one chain of multiply-adds each. Neither kBlock nor
// the chain depends on anything but k, which is what the contract promises about bits.
//
// The build lets the compiler fuse multiplication and addition in this file (see kernels/CMakeLists.txt).

#include <algorithm>

#include "core/parallel.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/micro_kernel.h"
#include "kernels/scratch.h"

namespace moe::kernels::cpu {
namespace {

using detail::kRows;

constexpr int64_t kBlock = 512;        // of k
constexpr int64_t kTaskRows = 264;     // a multiple of kRows
constexpr int64_t kTaskColumns = 128;  // a multiple of every Tile<T>::kColumns
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

// Whether packing A and turning C around is less work than packing B: an element that is turned costs about
// two that are packed.
template <class T>
bool turned(const Gemm<T>& p) {
  return p.b_transposed && !p.a_transposed && !p.accumulate && 2 * p.m * (p.k + p.n) < p.n * p.k;
}

// Rows [i0, i1) and columns [j0, j1) of p.
template <class T>
void multiply(const Gemm<T>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  using Tile = detail::Tile<T>;
  T* const slivers = thread_scratch<T>(kBlock * kTaskColumns);
  int64_t l = 0;
  do {  // at least once: k = 0 writes bias and C
    const int64_t k = std::min(kBlock, p.k - l);
    const bool last = l + k == p.k;
    if (!p.b_transposed) detail::pack_straight(p.b + l * p.ldb + j0, p.ldb, k, j1 - j0, slivers);
    for (int64_t j = j0; j < j1; j += Tile::kColumns) {
      const int64_t columns = std::min<int64_t>(j1 - j, Tile::kColumns), width = Tile::width(columns);
      T* const sliver = slivers + (j - j0) * k;
      if (p.b_transposed) detail::pack_transposed(p.b + j * p.ldb + l, p.ldb, k, columns, sliver, width);
      for (int64_t i = i0; i < i1; i += kRows)
        detail::run_tile(std::min<int64_t>(i1 - i, kRows), p.a_transposed, k,
                         p.a_transposed ? p.a + l * p.lda + i : p.a + i * p.lda + l, p.lda, sliver, width,
                         {.c = p.c + i * p.ldc + j,
                          .ldc = p.ldc,
                          .columns = columns,
                          .accumulate = p.accumulate || l > 0,
                          .bias = p.bias && last ? p.bias + j : nullptr,
                          .relu = p.relu && last});
    }
    l += k;
  } while (l < p.k);
}

// C[i, j] = turned[j, i] + bias[j], 0 for what is negative with relu; turned [n, width].
template <class T>
void turn(int64_t m, int64_t n, const T* turned, int64_t width, const T* bias, bool relu, T* c, int64_t ldc) {
  using Tile = detail::Tile<T>;
  using Vector = typename Tile::Vector;
  constexpr int lanes = Tile::kLanes;
  for (int64_t j = 0; j < n; j += lanes) {
    const int64_t columns = std::min<int64_t>(n - j, lanes);
    for (int64_t i = 0; i < m; i += lanes) {
      Vector square[lanes];
#pragma GCC unroll 16
      for (int r = 0; r < lanes; ++r) square[r] = detail::load(turned + (j + r) * width + i);
      detail::transpose<1>(square, std::make_integer_sequence<int, lanes>());
      const int64_t rows = std::min<int64_t>(m - i, lanes);
      for (int64_t r = 0; r < rows; ++r) {
        T* to = c + (i + r) * ldc + j;
        T row[lanes];
        detail::store(row, square[r]);
        for (int64_t x = 0; x < columns; ++x) {
          const T y = bias ? row[x] + bias[j + x] : row[x];
          to[x] = relu && !(y > 0) ? T(0) : y;
        }
      }
    }
  }
}

// multiply() for what is turned().
template <class T>
void multiply_turned(const Gemm<T>& p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  using Tile = detail::Tile<T>;
  constexpr int64_t kGroup = 4 * kRows;  // columns of C turned at once, whole vectors of either type
  static_assert(kGroup % Tile::kLanes == 0);
  T* const sliver = thread_scratch<T>((p.k + kGroup) * Tile::kColumns);
  T* const group = sliver + p.k * Tile::kColumns;
  for (int64_t i = i0; i < i1; i += Tile::kColumns) {
    const int64_t rows = std::min<int64_t>(i1 - i, Tile::kColumns), width = Tile::width(rows);
    detail::pack_transposed(p.a + i * p.lda, p.lda, p.k, rows, sliver, width);
    for (int64_t j = j0; j < j1; j += kGroup) {
      const int64_t columns = std::min(kGroup, j1 - j);
      int64_t l = 0;
      do {
        const int64_t k = std::min(kBlock, p.k - l);
        for (int64_t g = 0; g < columns; g += kRows)
          detail::run_tile(std::min<int64_t>(columns - g, kRows), false, k, p.b + (j + g) * p.ldb + l, p.ldb,
                           sliver + l * width, width,
                           {.c = group + g * width, .ldc = width, .columns = width, .accumulate = l > 0});
        l += k;
      } while (l < p.k);
      turn(rows, columns, group, width, p.bias ? p.bias + j : nullptr, p.relu, p.c + i * p.ldc + j, p.ldc);
    }
  }
}

template <class T>
Stripes row_stripes(const Gemm<T>& p) {
  return {p.m, kTaskRows, kRows};
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
        const auto& multiply_part = turned(p) ? multiply_turned<T> : multiply<T>;
        return multiply_part(p, rows.begin(i), rows.begin(i + 1), columns.begin(j), columns.begin(j + 1));
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
