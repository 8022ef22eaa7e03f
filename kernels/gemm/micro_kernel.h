#pragma once
// The inner parts of the matrix product: vectors, the packing of panels, and the loop over k that computes
// one tile of registers. Written in the vector extensions of GCC and Clang for the instruction set that the
// source which includes this is compiled for, and for that source alone; a processor that is not listed gets
// 16-byte vectors.
//
// The build lets the compiler fuse multiplication and addition here (kernels/CMakeLists.txt).

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/transpose.h"

#ifdef __AVX__
#include <immintrin.h>
#endif

namespace moe::kernels::cpu::detail {
namespace {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64, kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32, kVectorRegisters = 16;
#elif defined(__aarch64__)
inline constexpr int kVectorBytes = 16, kVectorRegisters = 32;
#else
inline constexpr int kVectorBytes = 16, kVectorRegisters = 16;
#endif

// A tile is kRows x 2 vectors of sums; the registers left over hold two vectors of B and a broadcast of A.
inline constexpr int kRows = kVectorRegisters == 32 ? 12 : 6;

template <class T>
struct RegisterTile {
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int kColumns = 2 * kLanes;
  static constexpr int kNarrow = std::max(kVectorBytes / 2, 16) / static_cast<int>(sizeof(T));
  // Of the sliver and the tile for up to kColumns columns: half a vector, if it has 16 bytes, one or two.
  static constexpr int64_t width(int64_t columns) {
    return columns > kLanes ? kColumns : columns > kNarrow ? kLanes : kNarrow;
  }
};

// Rows of B that may lie beyond the caches are asked for so many steps before they are read.
inline constexpr int64_t kStepsAhead = 32;

template <class T>
inline constexpr int kLineElements = 64 / static_cast<int>(sizeof(T));  // of a line of the cache

template <class V, class T>
V load_as(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
typename RegisterTile<T>::Vector load(const T* p) {
  return load_as<typename RegisterTile<T>::Vector>(p);
}

template <class V, class T>
void store(T* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// Whether a whole vector can be written to memory past the caches. Lines are written whole: by a vector, or
// by two behind each other.
#ifdef __AVX__
inline constexpr bool kStreams = true;
template <class V, class T>
void store_past_caches(T* p, V v) {
  if constexpr (sizeof v < kVectorBytes) {
    store(p, v);
  } else {
#ifdef __AVX512F__
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(v));
#else
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(v));
#endif
  }
}
// What was written so is seen by other threads after this, as other stores are.
inline void finish_streams() {
  _mm_sfence();
}
#else
inline constexpr bool kStreams = false;
template <class V, class T>
void store_past_caches(T* p, V v) {
  store(p, v);
}
inline void finish_streams() {}
#endif

// Packing writes `count` rows or columns of an operand, k steps of each, as panel[l*width + i], and zeros
// behind them up to the width, and perhaps half a vector behind the last. Here element (l, i) is
// source[i*ld + l].
template <class T>
void pack_transposed(const T* source, int64_t ld, int64_t k, int64_t count, T* panel, int64_t width) {
  using Vector = typename RegisterTile<T>::Vector;
  constexpr int lanes = RegisterTile<T>::kLanes;
  for (int64_t first = 0; first < count; first += lanes) {
    const int64_t valid = std::min<int64_t>(count - first, lanes);
    const T* from = source + first * ld;
    T* to = panel + first;
    int64_t l = 0;
    for (; l + lanes <= k; l += lanes, from += lanes) {
      Vector square[lanes];
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) square[i] = i < valid ? load(from + i * ld) : Vector{};
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) store(to + (l + i) * width, square[i]);
    }
    for (; l < k; ++l, ++from)
      for (int i = 0; i < lanes; ++i) to[l * width + i] = i < valid ? from[i * ld] : T(0);
  }
}

// The same, where element (l, i) is source[l*ld + i].
template <class T>
void pack_straight(const T* source, int64_t ld, int64_t k, int64_t count, T* panel, int64_t width) {
  constexpr int64_t full = RegisterTile<T>::kColumns;
  for (int64_t l = 0; l < k; ++l, source += ld, panel += width) {
    for (int64_t i = 0; i < full; i += kLineElements<T>) __builtin_prefetch(source + kStepsAhead * ld + i);
    if (count == full)
      std::memcpy(panel, source, full * sizeof(T));
    else
      for (int64_t i = 0; i < width; ++i) panel[i] = i < count ? source[i] : T(0);
  }
}

// Where a tile of registers goes: C[i, j] = sum + C[i, j] + bias[j], the last two where wanted, and 0 for
// what is negative when `relu`.
template <class T>
struct TileOutput {
  T* c;
  int64_t ldc;
  int64_t columns;  // those that exist; the tile may be wider
  bool accumulate = false;
  const T* bias = nullptr;
  bool relu = false;
  bool stream = false;        // past the caches; rows begin on a line
  double* squares = nullptr;  // where given, the squares of what is written are added: one sum to a column
};

// sums[j] += x[j]^2, lane by lane.
template <class V>
void add_squares(V x, double* sums) {
  typedef double Wide __attribute__((vector_size(sizeof(V) / sizeof x[0] * sizeof(double))));
  const Wide wide = __builtin_convertvector(x, Wide);
  Wide s;
  std::memcpy(&s, sums, sizeof s);
  s += wide * wide;
  std::memcpy(sums, &s, sizeof s);
}

// Memory that is needed later: in step l the first of several tiles asks for as many elements at p + l*step
// as it has columns, each after it for what is `tile` elements further on. They go to the second-level cache:
// the first has no room for them, and lets fewer requests be under way.
template <class T>
struct Ahead {
  const T* p;
  int64_t step, tile;
};

// The products of `tiles` times `Rows` rows of A and `Columns` columns of B over k steps, one tile after the
// other. Each sum is one chain of multiply-adds in the order of l, whatever the size of the tile. A(r, l) is
// a[r*lda + l], or a[l*lda + r] when Transposed; B(l, j) is b[l*ldb + j].
//
// Memory is asked for before it is needed: the lines of C in the first steps, a row in each, and in every
// step what `ahead` says and lines of A: those of the next tile's rows, or, when Transposed and unless there
// are few steps, those that this tile reads sixteen steps later.
template <class T, int Rows, int Columns, bool Transposed>
void compute_tiles(int64_t tiles, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb,
                   const Ahead<T>& ahead, const TileOutput<T>& out) {
  constexpr int lanes = std::min(Columns, RegisterTile<T>::kLanes), Vectors = Columns / lanes;
  typedef T Vector __attribute__((vector_size(lanes * sizeof(T))));
  const int64_t a_ahead = k <= 32 ? Rows : 16 * lda;  // when Transposed
  const int64_t later_step = ahead.step, ldc = out.ldc;
  const T* later_tile = ahead.p;
  T* c = out.c;
  for (; tiles > 0; --tiles, a += Transposed ? Rows : Rows * lda, c += Rows * ldc, later_tile += ahead.tile) {
    Vector sum[Rows][Vectors] = {};
    // Three rows to a pointer: as many as one register of the stride can address beside it.
    constexpr int kPointers = (Rows + 2) / 3;
    const T* row[kPointers];
    for (int p = 0; p < kPointers; ++p) row[p] = a + 3 * p * lda;
    const T *later = later_tile, *b_row = b;
    const auto step = [&](int64_t l) {
      if constexpr (Transposed) {
        const T* const next = a + l * lda + a_ahead;
        __builtin_prefetch(next);
        __builtin_prefetch(next + Rows - 1);  // it may lie across two lines
      } else {
        __builtin_prefetch(a + Rows * lda + l * kLineElements<T>);
      }
      Vector bl[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) bl[v] = load_as<Vector>(b_row + v * lanes);
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        const T factor = Transposed ? a[l * lda + r] : row[r / 3][l + r % 3 * lda];
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sum[r][v] += factor * bl[v];
      }
      for (int64_t j = 0; j < Vectors * lanes; j += kLineElements<T>) __builtin_prefetch(later + j, 0, 2);
      b_row += ldb;
      later += later_step;
    };
    int64_t l = 0;
    if (!out.stream)
      for (const T* line = c; l < std::min<int64_t>(k, Rows); ++l, line += ldc) {
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) __builtin_prefetch(line + v * lanes, 1);
        step(l);
      }
    for (; l < k; ++l) step(l);
    if (out.columns == Vectors * lanes) {
      // A loop for each wish, and not a loop that asks for all of them at every vector.
      const auto for_each_vector = [&sum, c, ldc](auto body) {
        T* at = c;
#pragma GCC unroll 12
        for (int r = 0; r < Rows; ++r, at += ldc)
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v) body(sum[r][v], at + v * lanes, v);
      };
      if (out.accumulate) for_each_vector([](Vector& x, const T* p, int) { x += load_as<Vector>(p); });
      if (out.bias)
        for_each_vector(
            [bias = out.bias](Vector& x, const T*, int v) { x += load_as<Vector>(bias + v * lanes); });
      if (out.relu) for_each_vector([](Vector& x, const T*, int) { x = x > 0 ? x : Vector{}; });
      if (out.stream)
        for_each_vector([](Vector x, T* p, int) { store_past_caches(p, x); });
      else
        for_each_vector([](Vector x, T* p, int) { store(p, x); });
      // While the stores are under way.
      if (out.squares)
        for_each_vector(
            [squares = out.squares](Vector x, const T*, int v) { add_squares(x, squares + v * lanes); });
      continue;
    }
    T element[Rows][Vectors * lanes];
    std::memcpy(element, sum, sizeof sum);
    for (int r = 0; r < Rows; ++r) {
      T* const at = c + r * ldc;
      for (int64_t j = 0; j < out.columns; ++j) {
        T x = element[r][j];
        if (out.accumulate) x += at[j];
        if (out.bias) x += out.bias[j];
        at[j] = x = out.relu && !(x > 0) ? T(0) : x;
        if (out.squares) out.squares[j] += static_cast<double>(x) * static_cast<double>(x);
      }
    }
  }
}

template <class T>
using TilesFunction = void (*)(int64_t tiles, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb,
                               const Ahead<T>& ahead, const TileOutput<T>& out);

// compute_tiles for 1 .. kRows rows at index 0 .. kRows - 1, so that a short panel costs only its own rows.
template <class T, int Columns, bool Transposed>
inline constexpr auto kTilesFunctions = []<int... R>(std::integer_sequence<int, R...>) {
  return std::array<TilesFunction<T>, kRows>{compute_tiles<T, R + 1, Columns, Transposed>...};
}
(std::make_integer_sequence<int, kRows>());

// The product of `rows` rows and out.columns columns, in tiles of `tile_rows` and one of the rest.
template <class T>
void run_tiles(int64_t rows, int64_t tile_rows, bool a_transposed, int64_t k, const T* a, int64_t lda,
               const T* b, int64_t ldb, Ahead<T> ahead, TileOutput<T> out) {
  using Tile = RegisterTile<T>;
  const auto choose = [width = Tile::width(out.columns)]<bool Transposed>() -> const auto& {
    return width == Tile::kColumns ? kTilesFunctions<T, Tile::kColumns, Transposed>
           : width == Tile::kLanes ? kTilesFunctions<T, Tile::kLanes, Transposed>
                                   : kTilesFunctions<T, Tile::kNarrow, Transposed>;
  };
  const auto& functions =
      a_transposed ? choose.template operator()<true>() : choose.template operator()<false>();
  const int64_t whole = rows / tile_rows, done = whole * tile_rows;
  functions[static_cast<size_t>(tile_rows - 1)](whole, k, a, lda, b, ldb, ahead, out);
  if (done == rows) return;
  a += a_transposed ? done : done * lda;
  ahead.p += whole * ahead.tile;
  out.c += done * out.ldc;
  functions[static_cast<size_t>(rows - done - 1)](1, k, a, lda, b, ldb, ahead, out);
}

}  // namespace
}  // namespace moe::kernels::cpu::detail
