// Forward: a warp owns a row of y. Backward: a warp owns 128 columns of the row of dtable
// that is named by position n, if no earlier position names it; it looks through the ids, 32 at a time, and
// adds the rows of dy that belong to it as it finds them, n ascending as on the CPU, so the bits are the
// same. Every element of dy is read once; the ids are read up to N/32 times by every position's warps, from
// cache.

#include "kernels/embedding/embedding.h"
#include "kernels/grid.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp, kColumns = 4 * kWarp;

__global__ void embedding_forward_kernel(EmbeddingShape s, bool vectors, const float* table,
                                         const int32_t* ids, float* y) {
  const int64_t n = global_warp();
  if (n >= s.rows) return;
  const int32_t id = ids[n];
  const float* const from = id >= 0 && id < s.symbols ? table + id * s.dim : nullptr;
  each_piece(s.dim, [&](int64_t c, int64_t left) {
    float v[4] = {NAN, NAN, NAN, NAN};
    if (from) load4(from + c, left, vectors, v);
    store4(y + n * s.dim + c, left, vectors, v);
  });
}

__global__ void embedding_backward_kernel(EmbeddingShape s, bool vectors, const int32_t* ids, const float* dy,
                                          float* dtable) {
  const int64_t groups = (s.dim + kColumns - 1) / kColumns, item = global_warp();
  if (item >= s.rows * groups) return;
  const int lane = threadIdx.x % kWarp;
  const int64_t n = item / groups, c = item % groups * kColumns + 4 * lane;
  const int32_t id = ids[n];
  if (id < 0 || id >= s.symbols) return;
  for (int64_t base = 0; base < n; base += kWarp)
    if (__any_sync(~0u, base + lane < n && ids[base + lane] == id)) return;  // of a whole warp, together

  float sum[4];
  float* const to = dtable + id * s.dim + c;
  load4(to, s.dim - c, vectors, sum);
  for (int64_t base = n; base < s.rows; base += kWarp) {
    unsigned mine = __ballot_sync(~0u, base + lane < s.rows && ids[base + lane] == id);
    for (; mine; mine &= mine - 1) {
      float d[4];
      load4(dy + (base + __ffs(static_cast<int>(mine)) - 1) * s.dim + c, s.dim - c, vectors, d);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[j] += d[j];
    }
  }
  store4(to, s.dim - c, vectors, sum);
}

// A thread owns an id.
__global__ void position_ids_kernel(int64_t rows, int64_t length, int64_t past, int32_t* ids) {
  const int64_t n = global_thread();
  if (n < rows) ids[n] = static_cast<int32_t>(past + n % length);
}

}  // namespace

void embedding_forward(EmbeddingShape s, const float* table, const int32_t* ids, float* y, Stream stream) {
  if (s.dim == 0) return;
  gpu::launch<embedding_forward_kernel>({blocks_for(s.rows, kWarps), kThreads, 0, stream}, s,
                                        in_vectors(s.dim, table, y), table, ids, y);
}

void embedding_backward(EmbeddingShape s, const int32_t* ids, const float* dy, float* dtable, Stream stream) {
  if (!dtable) return;
  const int64_t warps = s.rows * ((s.dim + kColumns - 1) / kColumns);
  gpu::launch<embedding_backward_kernel>({blocks_for(warps, kWarps), kThreads, 0, stream}, s,
                                         in_vectors(s.dim, dy, dtable), ids, dy, dtable);
}

void position_ids(int64_t rows, int64_t length, int64_t past, int32_t* ids, Stream stream) {
  gpu::launch<position_ids_kernel>({blocks_for(rows, kThreads), kThreads, 0, stream}, rows, length, past,
                                   ids);
}

}  // namespace moe::kernels::cuda
