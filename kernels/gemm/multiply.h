#pragma once
// The computation of a part of a product, for sources that are compiled for one instruction set each. All of
// it has internal linkage: of an inline function the linker would keep one copy, perhaps one that this
// processor cannot run.
//
// k goes in blocks of kBlock; a block of B is packed into slivers of a tile's width, which stay in the
// second-level cache, and each of them meets all rows of A in tiles of registers (micro_kernel.h). A is read
// where it lies. (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3),
// 2008, pack A as well: their A does not fit into the second-level cache, ours does.)
//
// With few rows, packing a transposed B would cost more than the product. Then C^T = B^T A^T is computed: B's
// columns, which are contiguous, take the role of A's rows, A is packed, and tiles are turned around on their
// way to C.
//
// A B that pack_columns has packed is read where it lies, and so is any whose rows are contiguous when they
// meet few rows of A.
//
// Either way an element is the sum over blocks of k of one chain of multiply-adds each. Neither kBlock nor
// the chain depends on anything but k, which is what the contract promises about bits.

#include "kernels/gemm/micro_kernel.h"
#include "kernels/gemm/parts.h"

namespace moe::kernels::cpu::detail {
namespace {

// Rows of A that a tile of registers meets: as equal parts of all as tiles allow, since a tile of a row or
// two takes nearly as long as one of six.
inline int64_t rows_a_tile(int64_t rows) {
  const int64_t tiles = (rows + kRows - 1) / kRows;
  return tiles ? (rows + tiles - 1) / tiles : 1;
}

// So few that a B whose rows are whole slivers is read where it lies: what packing saves them is less than it
// takes.
inline constexpr int64_t kFewRows = 5 * kRows;

// Rows of B that lie so near each other do not displace each other from the first-level cache, and are read
// where they lie however many rows of A they meet.
inline constexpr int64_t kNearBytes = 2048;

template <class T>
bool reads_as_it_lies(const Part<T>& part) {
  const Gemm<T>& p = *part.product;
  const bool near = !p.a_transposed && p.ldb * int64_t{sizeof(T)} <= kNearBytes;
  return !p.b_transposed && (near || part.i1 - part.i0 <= kFewRows) &&
         (part.j1 - part.j0) % RegisterTile<T>::kColumns == 0;
}

// Whether all of C's rows begin on a line of the cache and are written once.
template <class T>
bool streams(const Gemm<T>& p) {
  constexpr int64_t line = kLineElements<T>;
  return kStreams && p.stream && !p.accumulate && p.k <= kBlock && p.ldc % line == 0 &&
         reinterpret_cast<uintptr_t>(p.c) % 64 == 0;
}

template <class T>
void multiply_straight(const Part<T>& part, T* slivers) {
  const Gemm<T>& p = *part.product;
  const int64_t i0 = part.i0, i1 = part.i1, j0 = part.j0, j1 = part.j1, tile_rows = rows_a_tile(i1 - i0);
  const bool as_it_lies = reads_as_it_lies(part), stream = streams(p);
  int64_t l = 0;
  do {  // at least once: k = 0 writes bias and C
    const int64_t k = std::min(kBlock, p.k - l);
    const bool last = l + k == p.k;
    if (!p.b_packed && !as_it_lies && !p.b_transposed)
      pack_straight(p.b + l * p.ldb + j0, p.ldb, k, j1 - j0, slivers);
    for (int64_t j = j0; j < j1; j += RegisterTile<T>::kColumns) {
      const int64_t columns = std::min<int64_t>(j1 - j, RegisterTile<T>::kColumns);
      T* const sliver = slivers + (j - j0) * k;
      const T* b = sliver;
      int64_t ldb = RegisterTile<T>::width(columns);
      if (p.b_packed) {
        b = p.b + packed_index(p.k, l, j);
        ldb = kSliverColumns;
      } else if (as_it_lies) {
        b = p.b + l * p.ldb + j;
        ldb = p.ldb;
      } else if (p.b_transposed) {
        pack_transposed(p.b + j * p.ldb + l, p.ldb, k, columns, sliver, ldb);
      }
      for (int64_t i = i0; i < i1; i += tile_rows)
        run_tile(std::min(i1 - i, tile_rows), p.a_transposed, k,
                 p.a_transposed ? p.a + l * p.lda + i : p.a + i * p.lda + l, p.lda, b, ldb,
                 {.c = p.c + i * p.ldc + j,
                  .ldc = p.ldc,
                  .columns = columns,
                  .accumulate = p.accumulate || l > 0,
                  .bias = p.bias && last ? p.bias + j : nullptr,
                  .relu = p.relu && last,
                  .stream = stream});
    }
    l += k;
  } while (l < p.k);
  if (stream) finish_streams();
}

// C[i, j] = turned[j, i] + bias[j], 0 for what is negative with relu; turned [n, width].
template <class T>
void turn(int64_t m, int64_t n, const T* turned, int64_t width, const T* bias, bool relu, T* c, int64_t ldc) {
  using Tile = RegisterTile<T>;
  using Vector = typename Tile::Vector;
  constexpr int lanes = Tile::kLanes;
  for (int64_t j = 0; j < n; j += lanes) {
    const int64_t columns = std::min<int64_t>(n - j, lanes);
    for (int64_t i = 0; i < m; i += lanes) {
      Vector square[lanes];
#pragma GCC unroll 16
      for (int r = 0; r < lanes; ++r) square[r] = load(turned + (j + r) * width + i);
      transpose<1>(square, std::make_integer_sequence<int, lanes>());
      const int64_t rows = std::min<int64_t>(m - i, lanes);
      for (int64_t r = 0; r < rows; ++r) {
        T* to = c + (i + r) * ldc + j;
        T row[lanes];
        store(row, square[r]);
        for (int64_t x = 0; x < columns; ++x) {
          const T y = bias ? row[x] + bias[j + x] : row[x];
          to[x] = relu && !(y > 0) ? T(0) : y;
        }
      }
    }
  }
}

template <class T>
void multiply_turned(const Part<T>& part, T* sliver) {
  using Tile = RegisterTile<T>;
  const Gemm<T>& p = *part.product;
  const int64_t i0 = part.i0, i1 = part.i1, j0 = part.j0, j1 = part.j1;
  static_assert(kTurnedColumns % Tile::kLanes == 0 && kTurnedColumns % kRows == 0);
  T* const group = sliver + p.k * Tile::kColumns;
  for (int64_t i = i0; i < i1; i += Tile::kColumns) {
    const int64_t rows = std::min<int64_t>(i1 - i, Tile::kColumns), width = Tile::width(rows);
    pack_transposed(p.a + i * p.lda, p.lda, p.k, rows, sliver, width);
    for (int64_t j = j0; j < j1; j += kTurnedColumns) {
      const int64_t columns = std::min(kTurnedColumns, j1 - j);
      int64_t l = 0;
      do {
        const int64_t k = std::min(kBlock, p.k - l);
        for (int64_t g = 0; g < columns; g += kRows)
          run_tile(std::min<int64_t>(columns - g, kRows), false, k, p.b + (j + g) * p.ldb + l, p.ldb,
                   sliver + l * width, width,
                   {.c = group + g * width, .ldc = width, .columns = width, .accumulate = l > 0});
        l += k;
      } while (l < p.k);
      turn(rows, columns, group, width, p.bias ? p.bias + j : nullptr, p.relu, p.c + i * p.ldc + j, p.ldc);
    }
  }
}

template <class T>
void multiply(const Part<T>& part, T* memory) {
  part.turned ? multiply_turned(part, memory) : multiply_straight(part, memory);
}

#if defined(__AVX512F__)
inline constexpr const char* kName = "AVX-512";
#elif defined(__AVX2__)
inline constexpr const char* kName = "AVX2";
#elif defined(__AVX__)
inline constexpr const char* kName = "AVX";
#elif defined(__aarch64__)
inline constexpr const char* kName = "NEON";
#elif defined(__SSE2__)
inline constexpr const char* kName = "SSE2";
#else
inline constexpr const char* kName = "no vectors known";
#endif

#if defined(__FMA__) || defined(__aarch64__)
inline constexpr bool kFuses = true;
#else
inline constexpr bool kFuses = false;
#endif

// What the source that includes this was compiled for.
inline constexpr InstructionSet kThisSet{kName, kFuses, multiply<float>, multiply<double>};

}  // namespace
}  // namespace moe::kernels::cpu::detail
