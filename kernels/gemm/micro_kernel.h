#pragma once
// The inner parts of the matrix product: vectors, the packing of panels, and the loop over k that computes
// one tile of registers. Written in the vector extensions of GCC and Clang for the instruction set that is
// compiled for (MOE_NATIVE); a processor that is not listed gets 16-byte vectors.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

namespace moe::kernels::cpu::detail {

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
struct Tile {
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int kColumns = 2 * kLanes;
  // Elements between two steps of a packed panel of A: kRows in whole vectors, since packing writes vectors.
  static constexpr int kPanelRows = (kRows + kLanes - 1) / kLanes * kLanes;
};

template <class T>
typename Tile<T>::Vector load(const T* p) {
  typename Tile<T>::Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V, class T>
void store(T* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// Exchanges the off-diagonal Step x Step blocks of every 2*Step x 2*Step block, for Step = 1, 2, ... half of
// the lanes: after the last step the square v is transposed.
template <int Step, class V, int... Lane>
[[gnu::always_inline]] inline void transpose(V* v, std::integer_sequence<int, Lane...> lanes) {
  constexpr int n = sizeof...(Lane);
  if constexpr (Step < n) {
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) {
      if (i & Step) continue;
      const V x = v[i], y = v[i + Step];
      v[i] = __builtin_shufflevector(x, y, (Lane & Step ? n + Lane - Step : Lane)...);
      v[i + Step] = __builtin_shufflevector(x, y, (Lane & Step ? n + Lane : Lane + Step)...);
    }
    transpose<2 * Step>(v, lanes);
  }
}

// Packing writes `count` rows or columns of an operand, k steps of each, as panel[l*width + i], and zeros
// behind them up to a whole vector. Here element (l, i) is source[i*ld + l].
template <class T>
void pack_transposed(const T* source, int64_t ld, int64_t k, int64_t count, T* panel, int64_t width) {
  using Vector = typename Tile<T>::Vector;
  constexpr int lanes = Tile<T>::kLanes;
  for (int64_t first = 0; first < count; first += lanes) {
    const int64_t valid = std::min<int64_t>(count - first, lanes);
    const T* from = source + first * ld;
    T* to = panel + first;
    int64_t l = 0;
    for (; l + lanes <= k; l += lanes, from += lanes) {
      Vector square[lanes];
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) square[i] = i < valid ? load(from + i * ld) : Vector{};
      transpose<1>(square, std::make_integer_sequence<int, lanes>());
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) store(to + (l + i) * width, square[i]);
    }
    for (; l < k; ++l, ++from)
      for (int i = 0; i < lanes; ++i) to[l * width + i] = i < valid ? from[i * ld] : T(0);
  }
}

// The same where element (l, i) is source[l*ld + i]. Full is the usual count, copied with a fixed size.
template <int Full, class T>
void pack_straight(const T* source, int64_t ld, int64_t k, int64_t count, T* panel, int64_t width) {
  if (count == Full) {
    for (int64_t l = 0; l < k; ++l) std::memcpy(panel + l * width, source + l * ld, Full * sizeof(T));
    return;
  }
  constexpr int lanes = Tile<T>::kLanes;
  const int64_t padded = (count + lanes - 1) / lanes * lanes;
  for (int64_t l = 0; l < k; ++l)
    for (int64_t i = 0; i < padded; ++i) panel[l * width + i] = i < count ? source[l * ld + i] : T(0);
}

// Where a tile of registers goes: C[i, j] = sum + bias[j] + C[i, j], the last two where wanted.
template <class T>
struct TileOutput {
  T* c;
  int64_t ldc;
  int64_t columns;  // those that exist; the tile may be wider
  const T* bias;
  bool accumulate;
};

// The product of `Rows` rows and `Vectors` vectors of columns over k steps. Each sum is one chain of
// multiply-adds in the order of l, whatever the size of the tile.
// a [k, kPanelRows] and b [k, Vectors * lanes] are packed panels.
template <class T, int Rows, int Vectors>
void compute_tile(int64_t k, const T* a, const T* b, const TileOutput<T>& out) {
  constexpr int lanes = Tile<T>::kLanes;
  typename Tile<T>::Vector sum[Rows][Vectors] = {};
  for (int64_t l = 0; l < k; ++l, a += Tile<T>::kPanelRows, b += Vectors * lanes) {
    typename Tile<T>::Vector bl[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) bl[v] = load(b + v * lanes);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[r][v] += a[r] * bl[v];
    }
  }
  if (out.columns == Vectors * lanes) {
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) {
        T* c = out.c + r * out.ldc + v * lanes;
        if (out.bias) sum[r][v] += load(out.bias + v * lanes);
        if (out.accumulate) sum[r][v] += load(c);
        store(c, sum[r][v]);
      }
    }
    return;
  }
  T element[Rows][Vectors * lanes];
  std::memcpy(element, sum, sizeof sum);
  for (int r = 0; r < Rows; ++r) {
    T* c = out.c + r * out.ldc;
    for (int64_t j = 0; j < out.columns; ++j) {
      T x = element[r][j];
      if (out.bias) x += out.bias[j];
      if (out.accumulate) x += c[j];
      c[j] = x;
    }
  }
}

template <class T>
using TileFunction = void (*)(int64_t k, const T* a, const T* b, const TileOutput<T>& out);

// compute_tile for 1 .. kRows rows at index 0 .. kRows - 1, so that a short panel costs only its own rows.
template <class T, int Vectors>
inline constexpr auto kTileFunctions = []<int... R>(std::integer_sequence<int, R...>) {
  return std::array<TileFunction<T>, kRows>{compute_tile<T, R + 1, Vectors>...};
}
(std::make_integer_sequence<int, kRows>());

}  // namespace moe::kernels::cpu::detail
