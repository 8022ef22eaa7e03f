// Backward on tensor cores, one launch of two kinds of blocks, so that every gradient has one owner and
// nothing is added atomically:
//
//   blockIdx.z = 0   a block owns a tile of queries: their rows of dq. It walks through the keys they see.
//   blockIdx.z = 1   a block owns a tile of keys: their rows of dk and dv. It walks through the queries that
//                    see them.
//
// Both compute the weights again from queries, keys and lse, and draw the dropout again. The second kind has
// scores with keys as rows and queries as columns, so that in both a warp goes on with what it has in
// registers. Both need delta = dy . y of every query, and compute it where they read dy: no block waits for
// another.

#include "kernels/attention/attention_bf16.h"
#include "kernels/attention/tensor_tiles.cuh"

namespace moe::kernels::cuda {
namespace {

using namespace attention;

// What both kinds of blocks keep in shared memory: the rows they own, those they walk through, and of every
// query among them lse and delta.
template <class T>
struct TensorMemory {
  PairRows<T, T::kRows> own[2];     // queries and dy, or keys and values
  PairRows<T, T::kOther> other[2];  // keys and values, or queries and dy
  float lse[T::kRows], delta[T::kRows];
  static_assert(T::kRows >= T::kOther);
};

// lse and delta = dy . y of the queries first .. first+count-1: four neighbouring lanes share one. Queries
// that do not exist get an lse that makes every weight 0.
template <class T>
__device__ void load_query_numbers(const BackwardArguments& a, const Head& head, int64_t first, int count,
                                   TensorMemory<T>& memory) {
  const HeadRows y = head.of_rows(a.s, a.y, a.vectors), dy = head.of_rows(a.s, a.dy, a.vectors);
  for (int r = threadIdx.x / 4; r < count; r += T::kThreads / 4) {  // whole warps
    const int64_t i = first + r;
    const bool exists = i < a.s.tokens;
    float sum = 0;
    for (int64_t c = 4 * (threadIdx.x % 4); exists && c < a.s.dim; c += 16) {
      float u[4], v[4];
      load4(y.x + i * y.stride + c, a.s.dim - c, a.vectors, u);
      load4(dy.x + i * dy.stride + c, a.s.dim - c, a.vectors, v);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum += u[j] * v[j];
    }
    sum = group_sum<4>(sum);
    if (threadIdx.x % 4 == 0) {
      memory.delta[r] = sum;
      memory.lse[r] = exists ? a.lse[head.index * a.s.tokens + i] : INFINITY;
    }
  }
}

// One score: p = weight before dropout, from the score q k; g = dy v becomes ds, p becomes w.
__device__ inline void score_gradient(const AttentionShape& s, bool keep, float delta, float& p, float& g) {
  const float keep_scale = keep ? static_cast<float>(s.drop.scale) : 0.0f;
  g = p * (g * keep_scale - delta);
  p *= keep_scale;
}

template <class T>
__device__ void dq_block(const BackwardArguments& a, TensorMemory<T>& memory) {
  const ScoreLane at;
  const Head head(a.s);
  const int64_t tokens = a.s.tokens, tile = (gridDim.y - 1 - blockIdx.y) * int64_t{T::kRows};
  const int64_t end = tile + T::kRows < tokens ? tile + T::kRows : tokens;
  const HeadRows key = head.of_qkv(a.s, a.qkv, tokens, tokens, 1, a.vectors);
  const HeadRows value = head.of_qkv(a.s, a.qkv, tokens, tokens, 2, a.vectors);
  const float scale = static_cast<float>(a.s.scale);
  load_pairs<T, T::kRows>(head.of_qkv(a.s, a.qkv, tokens, tokens, 0, a.vectors), tile, memory.own[0]);
  load_pairs<T, T::kRows>(head.of_rows(a.s, a.dy, a.vectors), tile, memory.own[1]);
  load_query_numbers<T>(a, head, tile, T::kRows, memory);
  __syncthreads();
  const LeftRows<T, T::kHoldsBoth> query(memory.own[0]), dout(memory.own[1]);
  const int row = 16 * at.warp, mine = row + at.g;
  const float lse[2] = {memory.lse[mine], memory.lse[mine + 8]};
  const float delta[2] = {memory.delta[mine], memory.delta[mine + 8]};

  typename T::Channels dq = {};
  for (int64_t j0 = 0; j0 < end; j0 += T::kOther) {
    __syncthreads();  // all have done with the tile before
    load_pairs<T, T::kOther>(key, j0, memory.other[0]);
    load_pairs<T, T::kOther>(value, j0, memory.other[1]);
    __syncthreads();
    if (j0 > tile + row + 15) continue;  // of the whole warp: its queries see none of these keys
    typename T::Scores p, ds;
    score_products<T>(query, memory.other[0], p);
    score_products<T>(dout, memory.other[1], ds);
#pragma unroll
    for (int n = 0; n < T::kOther / 8; ++n) {
      const unsigned keep = a.s.drop.drops() ? keep_by_query(a.s, head.index, tile + row, j0 + 8 * n) : ~0u;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool seen = j0 + 8 * n + 2 * at.t + e % 2 <= tile + mine + e / 2 * 8;
        p[n][e] = seen ? expf(scale * p[n][e] - lse[e / 2]) : 0.0f;
        score_gradient(a.s, keep >> e & 1, delta[e / 2], p[n][e], ds[n][e]);
      }
    }
    add_weighted<T>(ds, memory.other[0], dq);
  }
  const int64_t stride = key.stride;
  const int64_t to = head.at(a.s, tokens, 0);
  each_four<T>(dq, [&](int r, int channel, float(&v)[4]) {
    const int64_t i = tile + row + r;
    if (i >= tokens) return;
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] *= scale;
    put4(a.dqkv, to + i * stride + channel, a.s.dim - channel, a.vectors, v);
  });
}

template <class T>
__device__ void dkv_block(const BackwardArguments& a, TensorMemory<T>& memory) {
  const ScoreLane at;
  const Head head(a.s);
  const int64_t tokens = a.s.tokens, tile = blockIdx.y * int64_t{T::kRows};
  const HeadRows query = head.of_qkv(a.s, a.qkv, tokens, tokens, 0, a.vectors);
  const HeadRows dout = head.of_rows(a.s, a.dy, a.vectors);
  const float scale = static_cast<float>(a.s.scale);
  load_pairs<T, T::kRows>(head.of_qkv(a.s, a.qkv, tokens, tokens, 1, a.vectors), tile, memory.own[0]);
  load_pairs<T, T::kRows>(head.of_qkv(a.s, a.qkv, tokens, tokens, 2, a.vectors), tile, memory.own[1]);
  __syncthreads();
  const LeftRows<T, T::kHoldsBoth> key(memory.own[0]), value(memory.own[1]);
  const int row = 16 * at.warp;

  typename T::Channels dk = {}, dv = {};
  for (int64_t i0 = tile; i0 < tokens; i0 += T::kOther) {
    __syncthreads();
    load_pairs<T, T::kOther>(query, i0, memory.other[0]);
    load_pairs<T, T::kOther>(dout, i0, memory.other[1]);
    load_query_numbers<T>(a, head, i0, T::kOther, memory);
    __syncthreads();
    if (tile + row > i0 + T::kOther - 1) continue;  // of the whole warp: none of these queries sees its keys
    typename T::Scores w, ds;
    score_products<T>(key, memory.other[0], w);
    score_products<T>(value, memory.other[1], ds);
#pragma unroll
    for (int n = 0; n < T::kOther / 8; ++n) {
      const unsigned keep = a.s.drop.drops() ? keep_by_key(a.s, head.index, i0 + 8 * n, tile + row) : ~0u;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = 8 * n + 2 * at.t + e % 2;
        const bool seen = tile + row + at.g + e / 2 * 8 <= i0 + column;
        w[n][e] = seen ? expf(scale * w[n][e] - memory.lse[column]) : 0.0f;
        score_gradient(a.s, keep >> e & 1, memory.delta[column], w[n][e], ds[n][e]);
      }
    }
    add_weighted<T>(w, memory.other[1], dv);
    add_weighted<T>(ds, memory.other[0], dk);
  }
  const auto put_rows = [&](const typename T::Channels& sum, int part, float factor) {
    const int64_t to = head.at(a.s, tokens, part);
    each_four<T>(sum, [&](int r, int channel, float(&v)[4]) {
      const int64_t j = tile + row + r;
      if (j >= tokens) return;
#pragma unroll
      for (int c = 0; c < 4; ++c) v[c] *= factor;
      put4(a.dqkv, to + j * query.stride + channel, a.s.dim - channel, a.vectors, v);
    });
  };
  put_rows(dk, 1, scale);
  put_rows(dv, 2, 1);
}

// Two blocks a processor at least: left to itself, the compiler saves registers and spills.
template <class T>
__global__ void __launch_bounds__(T::kThreads, 2) attention_backward_bf16_kernel(BackwardArguments a) {
  DYNAMIC_SHARED(TensorMemory<T>, memory);
  if (blockIdx.z == 0)
    dq_block<T>(a, *memory);
  else
    dkv_block<T>(a, *memory);
}

}  // namespace

void attention_backward_bf16(const AttentionShape& s, const float* qkv, const float* y, const float* lse,
                             const float* dy, Into<float> dqkv, Stream stream) {
  const BackwardArguments a{s, in_vectors(s.dim, qkv, y, dy, dqkv.to), qkv, y, lse, dy, dqkv};
  with_tensor_tile(s.dim, s.tokens, [&]<class T>() {
    gpu::launch<attention_backward_bf16_kernel<T>>(
        {dim3(static_cast<unsigned>(s.batch * s.heads), blocks_for(s.tokens, T::kRows), 2), T::kThreads,
         sizeof(TensorMemory<T>), stream},
        a);
  });
}

}  // namespace moe::kernels::cuda
