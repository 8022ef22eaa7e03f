#pragma once
// The computation of a part of a product, for sources that are compiled for one instruction set each. All of
// it has internal linkage: of an inline function the linker would keep one copy, perhaps one that this
// processor cannot run. Those that remain without optimisation handle integers alone.
//
// B is packed in slivers of a tile's width, which stay in the second-level cache, and each of them meets all
// rows of A in tiles of registers (micro_kernel.h), kBlock steps of k at a time. A is read where it lies.
// (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008, pack A
// as well: their A does not fit into the second-level cache, ours does.) While tiles compute they ask for as
// much memory behind their sliver as it takes itself, which the next slivers or the next product read: with
// few rows of A, waiting for that would take longer than the product.
//
// A B that pack_columns has packed is read where it lies, and so is any whose rows are contiguous when they
// meet few rows of A. Where its columns are, the product is turned around when a vector holds all rows of A:
// packing B would take as long as the product.
//
// An element is the sum over blocks of k of one chain of multiply-adds each. Neither kBlock nor the chain
// depends on anything but k, which is what the contract promises about bits.

#include "kernels/gemm/micro_kernel.h"
#include "kernels/gemm/parts.h"

namespace moe::kernels::cpu::detail {
namespace {

// So few that a B whose rows are whole slivers is read where it lies: what packing saves them is less than it
// takes.
inline constexpr int64_t kFewRows = 5 * kRows;

// Rows of B that lie so near each other do not displace each other from the first-level cache, and are read
// where they lie however many rows of A they meet.
inline constexpr int64_t kNearBytes = 2048;

// A matrix that is not larger stays in the second-level cache until it is read, after another one.
inline constexpr int64_t kCachedBytes = 512 * 1024;

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

// A tile's width of columns of B, all k rows, for the tiles of a part.
template <class T>
class Sliver {
 public:
  // Columns j and on, packed into `memory` where they have to be.
  Sliver(const Part<T>& part, int64_t j, T* memory) {
    const Gemm<T>& p = *part.product;
    const int64_t next = std::min<int64_t>(part.j1, j + RegisterTile<T>::kColumns);
    if (p.b_packed) {
      b_ = p.b + packed_index(p.k, 0, j);
      ldb_ = kSliverColumns;
      behind_ = next < p.n ? b_ + p.k * ldb_ : p.next_b;
      return;
    }
    if (p.b_transposed && p.ldb == p.k) behind_ = next < p.n ? p.b + next * p.k : p.next_b;
    if (!p.b_transposed && p.ldb == p.n && p.next_b && p.n * p.k * int64_t{sizeof(T)} <= kCachedBytes)
      behind_ = p.next_b + j * p.k;
    if (reads_as_it_lies(part)) {
      b_ = p.b + j;
      ldb_ = p.ldb;
      return;
    }
    b_ = memory;
    ldb_ = RegisterTile<T>::width(next - j);
    p.b_transposed ? pack_transposed(p.b + j * p.ldb, p.ldb, p.k, next - j, memory, ldb_)
                   : pack_straight(p.b + j, p.ldb, p.k, next - j, memory, ldb_);
  }

  const T* row(int64_t l) const { return b_ + l * ldb_; }
  int64_t ldb() const { return ldb_; }

  // What the `tiles` of a block of k steps from row l on ask for: as much memory behind this sliver as the
  // sliver takes, or rows that they read themselves.
  Ahead<T> ahead(int64_t l, int64_t k, int64_t tiles) const {
    if (!behind_) return {row(l + kStepsAhead), ldb_, 0};
    const int64_t step = (RegisterTile<T>::kColumns + tiles - 1) / tiles;
    return {behind_ + l * tiles * step, step, k * step};
  }

 private:
  const T* b_;
  int64_t ldb_;
  // What is read after this sliver: the next columns, or the same share of the next product's B.
  // nullptr where that is not one piece of memory.
  const T* behind_ = nullptr;
};

// Equal tiles, as far as that goes: one of a row or two takes nearly as long as one of six.
struct Tiles {
  explicit Tiles(int64_t rows) : count((rows + kRows - 1) / kRows), height((rows + count - 1) / count) {}
  int64_t count, height;
};

// Whether the rows are so few that packing B would take as long as the product.
template <class T>
bool turns_around(const Part<T>& part) {
  const Gemm<T>& p = *part.product;
  return p.b_transposed && !p.b_packed && !p.a_transposed && !p.accumulate && !part.squares &&
         part.i1 - part.i0 <= RegisterTile<T>::kLanes && (part.j1 - part.j0) % RegisterTile<T>::kLanes == 0;
}

// Of B, how long before they are read they are asked for then.
inline constexpr int64_t kBytesAhead = 64 * 1024;

// Columns of B, read as they lie, are what rows of A are in `multiply`; A, packed, is the one sliver that
// they meet. Their product, the transpose of C, is turned back at the end.
template <class T>
void multiply_turned_around(const Part<T>& part, T* memory) {
  using Vector = typename RegisterTile<T>::Vector;
  constexpr int lanes = RegisterTile<T>::kLanes;
  const Gemm<T>& p = *part.product;
  const int64_t rows = part.i1 - part.i0, columns = part.j1 - part.j0;
  const int64_t width = RegisterTile<T>::width(rows);
  T *const c = p.c + part.i0 * p.ldc + part.j0, *const turned = memory + p.k * width;
  const T *const b = p.b + part.j0 * p.ldb, *const bias = p.bias ? p.bias + part.j0 : nullptr;
  pack_transposed(p.a + part.i0 * p.lda, p.lda, p.k, rows, memory, width);
  const int64_t height = Tiles(columns).height;
  // A column of B asks for the one `lead` columns behind it; from `beyond` on that is one of the next B.
  const int64_t lead = std::min(kBytesAhead / int64_t{sizeof(T)} / std::max<int64_t>(1, p.k), p.n);
  const int64_t beyond = std::clamp<int64_t>(p.n - lead - part.j0, 0, columns) / height * height;
  const T* const next_b = p.next_b ? p.next_b + (part.j0 + beyond + lead - p.n) * p.k : memory;
  int64_t l = 0;
  do {  // at least once: k = 0 writes bias
    const int64_t k = std::min(kBlock, p.k - l);
    const auto run = [&](int64_t from, int64_t to, const T* ahead) {
      run_tiles(to - from, height, false, k, b + from * p.ldb + l, p.ldb, memory + l * width, width,
                Ahead<T>{ahead + l, height, height * k},
                {.c = turned + from * width, .ldc = width, .columns = width, .accumulate = l > 0});
    };
    run(0, beyond, b + lead * p.ldb);
    run(beyond, columns, next_b);
    l += k;
  } while (l < p.k);
  for (int64_t j = 0; j < columns; j += lanes) {
    Vector square[lanes];  // lanes behind the rows are not of C
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) square[i] = load(turned + (j + i) * width);
    transpose(square);
    for (int64_t i = 0; i < rows; ++i) {
      Vector x = square[i];
      if (bias) x += load(bias + j);
      if (p.relu) x = x > 0 ? x : Vector{};
      store(c + i * p.ldc + j, x);
    }
  }
}

// A single row would run through its slivers so fast that requests for what lies behind get lost: it is
// computed so many times over, into the same place.
inline constexpr int64_t kSingleRow = 4;

template <class T>
void multiply(const Part<T>& part, T* memory) {
  if (turns_around(part)) return multiply_turned_around(part, memory);
  const Gemm<T>& p = *part.product;
  const int64_t i0 = part.i0, i1 = part.i1;
  const bool single = i1 - i0 == 1 && !p.a_transposed && !part.squares && reads_as_it_lies(part);
  const int64_t rows = single ? kSingleRow : i1 - i0, lda = single ? 0 : p.lda, ldc = single ? 0 : p.ldc;
  const Tiles tiles(rows);
  const bool stream = streams(p);
  double total = 0, squares[RegisterTile<T>::kColumns];
  for (int64_t j = part.j0; j < part.j1; j += RegisterTile<T>::kColumns) {
    const Sliver<T> sliver(part, j, memory);
    if (part.squares)
      for (double& sum : squares) sum = 0;
    int64_t l = 0;
    do {  // at least once: k = 0 writes bias and C
      const int64_t k = std::min(kBlock, p.k - l);
      const bool last = l + k == p.k;
      run_tiles(rows, tiles.height, p.a_transposed, k,
                p.a_transposed ? p.a + l * p.lda + i0 : p.a + i0 * p.lda + l, lda, sliver.row(l),
                sliver.ldb(), sliver.ahead(l, k, tiles.count),
                {.c = p.c + i0 * p.ldc + j,
                 .ldc = ldc,
                 .columns = std::min<int64_t>(part.j1 - j, RegisterTile<T>::kColumns),
                 .accumulate = p.accumulate || l > 0,
                 .bias = p.bias && last ? p.bias + j : nullptr,
                 .relu = p.relu && last,
                 .stream = stream,
                 .squares = part.squares && last ? squares : nullptr});
      l += k;
    } while (l < p.k);
    if (part.squares)
      for (const double column : squares) total += column;
  }
  if (part.squares) *part.squares = total;
  if (stream) finish_streams();
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
