#pragma once
// What a product's tile (kernels/tiles.cuh) is made of: how its threads are grouped, and the operands, of
// which each thread fetches its share.

#include "kernels/grid.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {

inline constexpr int kSlice = 16, kTileThreads = 256;

template <int kTileSide>
struct TileShape {
  static constexpr int kSide = kTileSide;
  static constexpr int kGroups = kTileThreads * 16 / (kSide * kSide), kGroupThreads = kTileThreads / kGroups;
  static constexpr int kLanes = kSide / 4;  // threads to a row of C, or of a slice [l][i]
  // Fours of an operand's slice that a thread fetches.
  static constexpr int kShares = kSide * kSlice / 4 / kGroupThreads;
  static constexpr int kOwnRows = 4 / kGroups;
  static_assert(kSide == 64 || kSide == 32);

  static __device__ int group() { return static_cast<int>(threadIdx.x) / kGroupThreads; }
  static __device__ int thread() { return static_cast<int>(threadIdx.x) % kGroupThreads; }  // of its group
  // The first row that this thread owns in the end, and the first column.
  static __device__ int own_row() { return kOwnRows * (static_cast<int>(threadIdx.x) / kLanes); }
  static __device__ int own_column() { return 4 * (static_cast<int>(threadIdx.x) % kLanes); }
};

// Four neighbours of a slice that a thread fetches, the q-th of its kShares: (row, column .. column + 3) of
// the slice as it is stored, [i][l] when the inner index runs along rows, else [l][i].
struct Share {
  int row, column;
};
template <class Shape, bool kAlongRows>
__device__ Share share(int q) {
  constexpr int kFours = kAlongRows ? kSlice / 4 : Shape::kLanes;
  const int at = Shape::thread() + q * Shape::kGroupThreads;
  return {at / kFours, 4 * (at % kFours)};
}

// Four neighbours of a row of which `left` exist: all of them or none, when rows lie on 16 bytes.
__device__ inline void fetch4(const float* p, int left, bool vectors, float (&v)[4]) {
  if (vectors)
    load4(p, left > 0 ? 4 : 0, true, v);
  else
    load4(p, left, false, v);
}

// Operands, as a thread sees them. fetch(q, slice, v): this thread's share q of the slice that begins at
// inner index `slice`; what does not exist is 0.
//
// InnerAlongRows: (i, l) = x[i * stride + l]; i < rows, l < inner exist.
template <class Shape>
class InnerAlongRows {
 public:
  static constexpr bool kAlongRows = true;
  __device__ InnerAlongRows(const float* x, int64_t stride, int rows, int inner, bool vectors)
      : InnerAlongRows(rows, inner, vectors, [&](int i) { return x + i * stride; }) {}

  __device__ void fetch(int q, int slice, float (&v)[4]) const {
    fetch4(at_[q] + slice, left_[q] - slice, vectors_, v);
  }

 protected:
  template <class RowAt>
  __device__ InnerAlongRows(int rows, int inner, bool vectors, RowAt row_at) : vectors_(vectors) {
#pragma unroll
    for (int q = 0; q < Shape::kShares; ++q) {
      const Share at = share<Shape, true>(q);
      const bool exists = at.row < rows;
      at_[q] = row_at(exists ? at.row : 0) + at.column;
      left_[q] = exists ? inner - at.column : 0;
    }
  }

 private:
  const float* at_[Shape::kShares];
  int left_[Shape::kShares];  // from there on
  bool vectors_;
};

// InnerDownColumns: (i, l) = x[l * stride + i]; i < columns, l < inner exist.
template <class Shape>
class InnerDownColumns {
 public:
  static constexpr bool kAlongRows = false;
  __device__ InnerDownColumns(const float* x, int64_t stride, int columns, int inner, bool vectors)
      : x_(x + share<Shape, false>(0).column),
        stride_(stride),
        columns_(columns - share<Shape, false>(0).column),
        inner_(inner),
        vectors_(vectors) {}

  __device__ void fetch(int q, int slice, float (&v)[4]) const {
    fetch(
        q, slice, [](int l) { return l; }, v);
  }

 protected:
  // Row l being x[of(l)].
  template <class Of>
  __device__ void fetch(int q, int slice, const Of& of, float (&v)[4]) const {
    const int l = slice + share<Shape, false>(q).row;
    const bool exists = l < inner_;
    fetch4(x_ + (exists ? of(l) : 0) * stride_, exists ? columns_ : 0, vectors_, v);
  }

 private:
  const float* x_;
  int64_t stride_;
  int columns_, inner_;
  bool vectors_;
};

// The same of rows that lie anywhere, row i being x[of(i)].
template <class Shape, class Of>
struct GatheredAlongRows : InnerAlongRows<Shape> {
  __device__ GatheredAlongRows(const float* x, int64_t stride, int rows, int inner, bool vectors,
                               const Of& of)
      : InnerAlongRows<Shape>(rows, inner, vectors, [&](int i) { return x + of(i) * stride; }) {}
};

template <class Shape, class Of>
class GatheredDownColumns : public InnerDownColumns<Shape> {
 public:
  __device__ GatheredDownColumns(const float* x, int64_t stride, int columns, int inner, bool vectors,
                                 const Of& of)
      : InnerDownColumns<Shape>(x, stride, columns, inner, vectors), of_(of) {}

  __device__ void fetch(int q, int slice, float (&v)[4]) const {
    InnerDownColumns<Shape>::fetch(q, slice, of_, v);
  }

 private:
  Of of_;
};

// An operand that is changed element by element by another of the same layout: with(value, other).
template <class Operand, class With>
struct Combined {
  static constexpr bool kAlongRows = Operand::kAlongRows;
  Operand value, other;

  __device__ void fetch(int q, int slice, float (&v)[4]) const {
    value.fetch(q, slice, v);
    float m[4];
    other.fetch(q, slice, m);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = With::of(v[j], m[j]);
  }
};

}  // namespace moe::kernels::cuda
