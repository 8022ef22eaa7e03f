// A warp owns a row: its lse and its term of the loss, or its row of dlogits. Forward reads a row once,
// keeping the largest logit so far and the sum of exponentials relative to it (Milakov and Gimelshein 2018,
// "Online normalizer calculation for softmax"); one block adds up the terms.

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/mean.cuh"
#include "kernels/scratch.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;
constexpr int64_t kPiece = 4 * kWarp;  // logits a warp reads at once

// 0 for equal infinities; NaN stays NaN.
__device__ float difference(float a, float b) {
  return a == b ? 0.0f : a - b;
}

// The largest of some numbers, and the sum of e^(x - most) over them.
struct Exponentials {
  float most = -INFINITY, sum = 0;

  __device__ void add(const float (&x)[4], int64_t left) {
    float top = most;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (j < left) top = fmaxf(top, x[j]);
    sum *= expf(difference(most, top));
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (j < left) sum += expf(difference(x[j], top));
    most = top;
  }
};

__global__ void __launch_bounds__(kThreads)
    cross_entropy_forward_kernel(CrossEntropyShape s, bool vectors, const float* logits,
                                 const int32_t* targets, float* term, float* lse) {
  const int64_t n = global_warp();
  if (n >= s.rows) return;
  const int lane = threadIdx.x % kWarp;
  const float* row = logits + n * s.symbols;
  Exponentials mine;
  for (int64_t v = 4 * lane; v < s.symbols; v += kPiece) {
    float x[4];
    load4(row + v, s.symbols - v, vectors, x);
    mine.add(x, s.symbols - v);
  }
  const float most = group_max(mine.most);
  const float log_sum = logf(group_sum(mine.sum * expf(difference(mine.most, most))));
  if (lane != 0) return;
  const int32_t target = targets[n];
  const bool exists = target >= 0 && target < s.symbols;
  lse[n] = most + log_sum;
  term[n] = exists ? log_sum - (row[target] - most) : NAN;
}

__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(CrossEntropyShape s, bool vectors, const float* logits,
                                  const int32_t* targets, const float* lse, const float* dloss,
                                  float* dlogits) {
  const int64_t n = global_warp();
  if (n >= s.rows) return;
  const float weight = *dloss / static_cast<float>(s.rows), shift = lse[n];
  const int64_t target = targets[n];
  for (int64_t v = 4 * (threadIdx.x % kWarp); v < s.symbols; v += kPiece) {
    const int64_t at = n * s.symbols + v, left = s.symbols - v;
    float x[4], d[4];
    load4(logits + at, left, vectors, x);
    load4(dlogits + at, left, vectors, d);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      d[j] += weight * expf(x[j] - shift);
      if (v + j == target) d[j] -= weight;
    }
    store4(dlogits + at, left, vectors, d);
  }
}

struct Term {
  const float* term;
  __device__ double operator()(int64_t n) const { return static_cast<double>(term[n]); }
};

}  // namespace

void cross_entropy_forward(CrossEntropyShape s, const float* logits, const int32_t* targets, float* loss,
                           float* lse, Stream stream) {
  float* const term = scratch<float>(s.rows, stream);
  gpu::launch<cross_entropy_forward_kernel>({blocks_for(s.rows, kWarps), kThreads, 0, stream}, s,
                                            in_vectors(s.symbols, logits), logits, targets, term, lse);
  mean_of(s.rows, Term{term}, loss, stream);
}

void cross_entropy_backward(CrossEntropyShape s, const float* logits, const int32_t* targets,
                            const float* lse, const float* dloss, float* dlogits, Stream stream) {
  if (!dlogits) return;
  gpu::launch<cross_entropy_backward_kernel>({blocks_for(s.rows, kWarps), kThreads, 0, stream}, s,
                                             in_vectors(s.symbols, logits, dlogits), logits, targets, lse,
                                             dloss, dlogits);
}

}  // namespace moe::kernels::cuda
