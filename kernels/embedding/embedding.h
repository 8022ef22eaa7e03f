#pragma once
// y[n, c] = table[ids[n], c]         dtable[ids[n], c] += dy[n, c], n ascending

#include <cstdint>

namespace moe::kernels {

struct EmbeddingShape {
  int64_t rows = 0, symbols = 0, dim = 0;  // N, V, C
};

namespace cpu {

// Throws when an id lies outside [0, V).
template <class T>
void embedding_forward(EmbeddingShape, const T* table, const int32_t* ids, T* y);

// For ids that forward has accepted.
template <class T>
void embedding_backward(EmbeddingShape, const int32_t* ids, const T* dy, T* dtable);

}  // namespace cpu
}  // namespace moe::kernels
