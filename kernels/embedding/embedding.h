#pragma once
// y[n, c] = table[ids[n], c]         dtable[ids[n], c] += dy[n, c], n ascending
//
// position_ids: ids[n] = past + n % length, the places of N tokens in sequences of `length` that go on behind
// `past` earlier ones.

#include <cstdint>

#include "core/device.h"

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

void position_ids(int64_t rows, int64_t length, int64_t past, int32_t* ids);

}  // namespace cpu

namespace cuda {

// An id outside [0, V) cannot be reported from here: its row of y is NaN, and backward passes it over.
void embedding_forward(EmbeddingShape, const float* table, const int32_t* ids, float* y, Stream);
void embedding_backward(EmbeddingShape, const int32_t* ids, const float* dy, float* dtable, Stream);
void position_ids(int64_t rows, int64_t length, int64_t past, int32_t* ids, Stream);

}  // namespace cuda
}  // namespace moe::kernels
