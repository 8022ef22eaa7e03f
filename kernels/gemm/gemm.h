#pragma once
// The seam for matrix products.
//
//   C[i, j] = (accumulate ? C[i, j] : 0) + sum over l < k of A(i, l) B(l, j) + bias[j], with relu max(0,
//   that)
//
// A(i, l) is a[i*lda + l], or a[l*lda + i] when a_transposed; C[i, j] is c[i*ldc + j]. B(l, j) is
// b[l*ldb + j], or b[j*ldb + l] when b_transposed, or where pack_columns put it when b_packed. bias may be
// nullptr. m, n, k may be 0; k = 0 leaves bias and C only.
// An element's bits depend on row i of A, column j of B, k, bias and C alone: not on m, n, the layout, the
// position of the row, the other problems of the call, or the number of threads.

#include <cstdint>
#include <span>

namespace moe::kernels::cpu {

template <class T>
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t lda = 0;
  bool a_transposed = false;
  const T* b = nullptr;
  int64_t ldb = 0;
  bool b_transposed = false;
  bool b_packed = false;  // ldb and b_transposed do not matter then
  T* c = nullptr;
  int64_t ldc = 0;
  const T* bias = nullptr;
  bool accumulate = false;
  bool relu = false;
  bool stream = false;  // C is larger than the caches, or not read again soon: it goes to memory past them
  double* squares = nullptr;  // where given, the squares of all elements of C are added to it
  const T* next_b = nullptr;  // the B of this shape that is read next: it is asked for meanwhile
};

// Independent products in one parallel region; no two of them may write the same element, but several may add
// their squares to one sum. float and double.
template <class T>
void gemm(std::span<const Gemm<T>> problems);

template <class T>
void gemm(const Gemm<T>& problem) {
  gemm(std::span(&problem, 1));
}

// Columns of B that pack_columns puts side by side.
inline constexpr int64_t kSliverColumns = 32;

// Where B(l, j) lies then, of k rows.
constexpr int64_t packed_index(int64_t k, int64_t l, int64_t j) {
  return j / kSliverColumns * kSliverColumns * k + l * kSliverColumns + j % kSliverColumns;
}

// Rearranges a B that many products share into the order in which they read it: b[j*k + l], n columns of k
// elements behind each other, becomes b[packed_index(k, l, j)]. n must be a multiple of
// kSliverColumns; a stack of such matrices is one with all their columns. float and double.
template <class T>
void pack_columns(int64_t n, int64_t k, T* b);

}  // namespace moe::kernels::cpu
