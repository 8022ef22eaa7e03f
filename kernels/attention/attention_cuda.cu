// Forward, in the manner of FlashAttention-2 (Dao 2023). A block owns a tile of queries of one head: their
// rows of y and lse. It walks through the keys a tile at a time, up to the last position that its queries
// see, and keeps for every query the largest score so far, the sum of e^(score - largest) and the weighted
// sum of values; a larger score rescales what was summed before. Scores exist for one tile at a time, in
// shared memory.
//
// Queries are read once, keys and values once for every tile of queries. A warp owns its queries' rows of the
// score tile, so only the tiles of keys and values need the block's barrier.
//
// A query meets the same tiles of keys in the same order wherever its tile begins: its bits do not depend on
// the other positions of the call. A tile of which it sees nothing multiplies by e^0 and adds zeros.

#include "core/cuda_memory.h"
#include "kernels/attention/attention_bf16.h"
#include "kernels/attention/tiles.cuh"

namespace moe::kernels::cuda {
namespace {

using namespace attention;

template <class T>
struct ForwardMemory {
  float query[T::kQueries * T::kPitch];
  float key[T::kKeys * T::kPitch];
  float value[T::kKeys * T::kPitch];
  float weight[T::kQueries * T::kScorePitch];
};

// One query's running sums over the keys seen so far.
template <class T>
struct Running {
  float most = -INFINITY, total = 0;
  float out[T::kChunks][T::kWidth] = {};

  // Turns the scores of a tile into weights relative to the largest so far.
  __device__ void take(float (&s)[T::kColumns]) {
    float top = s[0];
#pragma unroll
    for (int c = 1; c < T::kColumns; ++c) top = s[c] > top ? s[c] : top;
    top = group_max<kLanesX>(top);
    top = top > most ? top : most;
    const float rescale = expf(most - top);
    float sum = 0;
#pragma unroll
    for (int c = 0; c < T::kColumns; ++c) sum += s[c] = expf(s[c] - top);
    total = total * rescale + group_sum<kLanesX>(sum);
    most = top;
#pragma unroll
    for (int chunk = 0; chunk < T::kChunks; ++chunk)
#pragma unroll
      for (int j = 0; j < T::kWidth; ++j) out[chunk][j] *= rescale;
  }
};

// keys: whose rows are positions, the cache or qkv. Two blocks a processor at least: left to itself, the
// compiler saves registers and spills.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    attention_forward_kernel(AttentionShape s, bool vectors, const float* qkv, const float* keys,
                             int64_t key_rows, float* y, float* lse) {
  DYNAMIC_SHARED(ForwardMemory<T>, memory);
  const Lane lane;
  const Head head(s);
  const int64_t positions = s.past + s.tokens, first = positions - s.queries;
  // The longest rows first, so that they do not run alone at the end.
  const int64_t tile = (gridDim.y - 1 - blockIdx.y) * int64_t{T::kQueries};
  const int64_t end = first + tile + T::kQueries < positions ? first + tile + T::kQueries : positions;
  load_rows<T, T::kQueries, false>(head.of_qkv(s, qkv, s.tokens, s.tokens, 0, vectors), first + tile - s.past,
                                   static_cast<float>(s.scale), memory->query);
  const HeadRows key = head.of_qkv(s, keys, key_rows, positions, 1, vectors);
  const HeadRows value = head.of_qkv(s, keys, key_rows, positions, 2, vectors);

  const int row = lane.row(T::kRows);
  Running<T> running[T::kRows];
  for (int64_t j0 = 0; j0 < end; j0 += T::kKeys) {
    __syncthreads();  // all have done with the tile before
    load_rows<T, T::kKeys, true>(key, j0, 1, memory->key);
    load_rows<T, T::kKeys, false>(value, j0, 1, memory->value);
    __syncthreads();
    float weight[T::kRows][T::kColumns];
    products<T>(lane, memory->query, memory->key, weight);
#pragma unroll
    for (int r = 0; r < T::kRows; ++r) {
      const int64_t i = first + tile + row + r, j = j0 + T::kColumns * lane.x;
#pragma unroll
      for (int c = 0; c < T::kColumns; ++c)
        if (j + c > i) weight[r][c] = -INFINITY;
      running[r].take(weight[r]);
      if (s.drop.drops()) {
        bool keep[T::kColumns];
        draw_keep(s, head.index, i, j, keep);
#pragma unroll
        for (int c = 0; c < T::kColumns; ++c) weight[r][c] = keep[c] ? weight[r][c] : 0.0f;
      }
#pragma unroll
      for (int c = 0; c < T::kColumns; ++c)
        memory->weight[(row + r) * T::kScorePitch + T::kColumns * lane.x + c] = weight[r][c];
    }
    __syncwarp();
#pragma unroll 2
    for (int j = 0; j < T::kKeys; j += 4) {
      float w[T::kRows][4];
#pragma unroll
      for (int r = 0; r < T::kRows; ++r)
        load4(&memory->weight[(row + r) * T::kScorePitch + j], 4, true, w[r]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float v[T::kChunks][T::kWidth];
        load_channels<T>(lane, &memory->value[(j + i) * T::kPitch], v);
#pragma unroll
        for (int r = 0; r < T::kRows; ++r) add_row<T>(w[r][i], v, running[r].out);
      }
    }
  }

  const int64_t width = s.heads * s.dim;
#pragma unroll
  for (int r = 0; r < T::kRows; ++r) {
    const int64_t query = tile + row + r;
    if (query >= s.queries) break;
    const float inverse = static_cast<float>(s.drop.scale) / running[r].total;
    float* const to = y + (head.b * s.queries + query) * width + head.h * s.dim;
    each_channel<T>(lane, static_cast<int>(s.dim), running[r].out, [&](int channel, int left, auto& v) {
#pragma unroll
      for (int j = 0; j < T::kWidth; ++j) v[j] *= inverse;
      store_group(to + channel, left, vectors, v);
    });
    if (lane.x == 0) lse[head.index * s.queries + query] = running[r].most + logf(running[r].total);
  }
}

// cache[b, past + t] = qkv[b, t]: a thread owns four columns of a row.
__global__ void __launch_bounds__(kThreads)
    attention_append_kernel(AttentionShape s, bool vectors, const float* qkv, float* cache) {
  const int64_t stride = 3 * s.heads * s.dim, pieces = (stride + 3) / 4, item = global_thread();
  if (item >= s.batch * s.tokens * pieces) return;
  const int64_t row = item / pieces, c = item % pieces * 4, b = row / s.tokens, t = row % s.tokens;
  float v[4];
  load4(qkv + row * stride + c, stride - c, vectors, v);
  store4(cache + (b * s.capacity + s.past + t) * stride + c, stride - c, vectors, v);
}

template <class T>
void forward(const AttentionShape& s, const float* qkv, const float* keys, int64_t key_rows, float* y,
             float* lse, Stream stream) {
  gpu::launch<attention_forward_kernel<T>>(
      {dim3(static_cast<unsigned>(s.batch * s.heads), blocks_for(s.queries, T::kQueries)), kThreads,
       sizeof(ForwardMemory<T>), stream},
      s, in_vectors(s.dim, qkv, keys, y), qkv, keys, key_rows, y, lse);
}

}  // namespace

void attention_forward(const AttentionShape& s, const float* qkv, float* cache, float* y, float* lse,
                       Stream stream) {
  if (s.dim > kWidestHead)
    moe::cuda::refuse("attention: heads wider than 128 channels do not run on the GPU");
  if (cache) {
    const int64_t stride = 3 * s.heads * s.dim;
    gpu::launch<attention_append_kernel>(
        {blocks_for(s.batch * s.tokens * ((stride + 3) / 4), kThreads), kThreads, 0, stream}, s,
        in_vectors(stride, qkv, cache), qkv, cache);
  }
  const float* const keys = cache ? cache : qkv;
  const int64_t key_rows = cache ? s.capacity : s.tokens;
  if (moe::cuda::usable_precision() == Precision::bf16)
    return attention_forward_bf16(s, qkv, keys, key_rows, y, lse, stream);
  const auto run = s.dim <= 16   ? s.queries <= 32 ? forward<Tile<16, 32, 32>> : forward<Tile<16, 64, 32>>
                     : s.dim <= 32 ? s.queries <= 32 ? forward<Tile<32, 32, 32>> : forward<Tile<32, 64, 32>>
                     : s.dim <= 64 ? s.queries <= 32 ? forward<Tile<64, 32, 32>> : forward<Tile<64, 64, 32>>
                                   : forward<Tile<128, 32, 32>>;
  run(s, qkv, keys, key_rows, y, lse, stream);
}

}  // namespace moe::kernels::cuda
