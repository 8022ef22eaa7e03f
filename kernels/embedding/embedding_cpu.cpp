// Forward: a task owns some rows of y. Backward: a task owns some columns of dtable and walks through all
// rows of dy, since any of them may meet in one row of the table.

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/embedding/embedding.h"

namespace moe::kernels::cpu {
namespace {

constexpr int64_t kRows = 64;     // rows a task, forward
constexpr int64_t kColumns = 32;  // columns a task, backward

}  // namespace

template <class T>
void embedding_forward(EmbeddingShape s, const T* table, const int32_t* ids, T* y) {
  parallel_ranges(s.rows, kRows, [=](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      require(ids[n] >= 0 && ids[n] < s.symbols, "embedding: ids[{}] must lie in [0, {}), got {}", n,
              s.symbols, ids[n]);
      std::copy_n(table + ids[n] * s.dim, s.dim, y + n * s.dim);
    }
  });
}

template <class T>
void embedding_backward(EmbeddingShape s, const int32_t* ids, const T* dy, T* dtable) {
  if (!dtable) return;
  parallel_ranges(s.dim, kColumns, [=](int64_t begin, int64_t end) {
    for (int64_t n = 0; n < s.rows; ++n) {
      T* row = dtable + ids[n] * s.dim;
      for (int64_t c = begin; c < end; ++c) row[c] += dy[n * s.dim + c];
    }
  });
}

void position_ids(int64_t rows, int64_t length, int64_t past, int32_t* ids) {
  for (int64_t n = 0; n < rows; ++n) ids[n] = static_cast<int32_t>(past + n % length);
}

template void embedding_forward(EmbeddingShape, const float*, const int32_t*, float*);
template void embedding_forward(EmbeddingShape, const double*, const int32_t*, double*);
template void embedding_backward(EmbeddingShape, const int32_t*, const float*, float*);
template void embedding_backward(EmbeddingShape, const int32_t*, const double*, double*);

}  // namespace moe::kernels::cpu
