#pragma once
// out[c] += sum over n rows of value(n, c), for C columns.
//
// A block owns 32 columns: a thread sums four of them over every 32nd row, and the 32 partial sums of a
// column are added up in a fixed tree. Many rows are first cut into runs, one block each, whose sums are then
// the rows of a second launch. How the rows are cut depends on their number alone.

#include "core/device.h"
#include "kernels/grid.cuh"
#include "kernels/scratch.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {

inline constexpr int kSumColumns = 32, kSumThreads = 256;
inline constexpr int64_t kSumRun = 4096;  // rows a block, or more of very many; and the most runs

// value(n, c, left, v): v[0..3] of row n, columns c .. c+3, of which `left` exist; others get 0.
// out [runs, C], where block y sums the `run` rows of run y: added to when `accumulate`, else written.
template <class Value>
__global__ void __launch_bounds__(kSumThreads)
    column_sums_kernel(int64_t rows, int64_t run, int64_t dim, Value value, bool vectors, bool accumulate,
                       float* out) {
  constexpr int kLanes = kSumColumns / 4, kRows = kSumThreads / kLanes, kWarps = kSumThreads / kWarp;
  SHARED(partial, float[kWarps][kSumColumns]);
  const int lane = threadIdx.x % kLanes, first = threadIdx.x / kLanes, warp = threadIdx.x / kWarp;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kSumColumns + 4 * lane;
  const int64_t begin = blockIdx.y * run, end = begin + run < rows ? begin + run : rows;

  float sum[4] = {0, 0, 0, 0};
  for (int64_t n = begin + first; n < end; n += kRows) {
    float v[4];
    value(n, c, dim - c, v);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[j] += v[j];
  }
#pragma unroll
  for (int offset = kLanes; offset < kWarp; offset *= 2)
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[j] += __shfl_xor_sync(~0u, sum[j], offset);
  if (threadIdx.x % kWarp < kLanes)
#pragma unroll
    for (int j = 0; j < 4; ++j) partial[warp][4 * lane + j] = sum[j];
  __syncthreads();
  if (threadIdx.x >= kLanes) return;
  float* const to = out + blockIdx.y * dim + c;
  load4(to, accumulate ? dim - c : 0, vectors, sum);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += partial[w][4 * lane + j];
    sum[j] += total;
  }
  store4(to, dim - c, vectors, sum);
}

// Values that lie in memory, [rows, C].
struct RowsOf {
  const float* x;
  int64_t dim;
  bool vectors;
  __device__ void operator()(int64_t n, int64_t c, int64_t left, float (&v)[4]) const {
    load4(x + n * dim + c, left, vectors, v);
  }
};
inline RowsOf rows_of(const float* x, int64_t dim) {
  return {x, dim, in_vectors(dim, x)};
}

template <class Value>
void add_column_sums(int64_t rows, int64_t dim, Value value, float* out, Stream stream) {
  const unsigned columns = blocks_for(dim, kSumColumns);
  const bool vectors = in_vectors(dim, out);
  if (rows <= kSumRun) {
    gpu::launch<column_sums_kernel<Value>>({dim3(columns, rows > 0), kSumThreads, 0, stream}, rows, kSumRun,
                                           dim, value, vectors, true, out);
    return;
  }
  const int64_t run = run_length(rows, kSumRun, kSumRun);
  const unsigned runs = blocks_for(rows, run);
  float* const partial = scratch<float>(runs * dim, stream);
  gpu::launch<column_sums_kernel<Value>>({dim3(columns, runs), kSumThreads, 0, stream}, rows, run, dim, value,
                                         in_vectors(dim), false, partial);
  gpu::launch<column_sums_kernel<RowsOf>>({columns, kSumThreads, 0, stream}, int64_t{runs}, kSumRun, dim,
                                          rows_of(partial, dim), vectors, true, out);
}

}  // namespace moe::kernels::cuda
