// Backward, one launch of two kinds of blocks, so that every gradient has one owner and nothing is added
// atomically. Both compute the tiles of weights again from queries, keys and lse, and draw the dropout again.
//
//   blockIdx.z = 0   a block owns a tile of queries: their rows of dq. It walks through the keys that they
//                    see.
//   blockIdx.z = 1   a block owns a tile of keys: their rows of dk and dv. It walks through the queries that
//                    see them.
//
// The sum over j of p[i,j] g[i,j] that ds asks for equals dy[i] . y[i], one number a query, called delta;
// both kinds compute it where they need it, since no block waits for another.
//
// In a tile of scores a warp owns a quarter of the queries. For dq it goes on with its own rows; for dk and
// dv all warps need all rows of the tile, of which each then owns a quarter of the keys.

#include <algorithm>

#include "core/cuda_memory.h"
#include "kernels/attention/attention_bf16.h"
#include "kernels/attention/tiles.cuh"

namespace moe::kernels::cuda {
namespace {

using namespace attention;

// Where a lane's scores lie: queries i .. i+kRows-1, keys j .. j+kColumns-1.
struct At {
  int64_t head, i, j;
};

// Of this lane's scores: p[r][c], the weight before dropout, becomes w, and ds the gradient of the score.
// query, dout: tiles of queries and dy; key, value: tiles of keys and values; delta of this lane's queries.
template <class T>
__device__ void score_gradients(const BackwardArguments& a, const Lane& lane, const At& at,
                                const float* query, const float* dout, const float* key, const float* value,
                                const float (&delta)[T::kRows], float (&w)[T::kRows][T::kColumns],
                                float (&ds)[T::kRows][T::kColumns]) {
  const AttentionShape& s = a.s;
  const float keep_scale = static_cast<float>(s.drop.scale);
  products<T>(lane, query, key, w);
  products<T>(lane, dout, value, ds);
#pragma unroll
  for (int r = 0; r < T::kRows; ++r) {
    const int64_t i = at.i + r;
    const bool exists = i < s.tokens;
    const float lse = exists ? a.lse[at.head * s.tokens + i] : 0.0f;
    bool keep[T::kColumns];
    if (s.drop.drops()) draw_keep(s, at.head, i, at.j, keep);
#pragma unroll
    for (int c = 0; c < T::kColumns; ++c) {
      const float p = exists && at.j + c <= i ? expf(w[r][c] - lse) : 0.0f;
      float g = ds[r][c];
      w[r][c] = p;
      if (s.drop.drops()) {
        g = keep[c] ? g * keep_scale : 0.0f;
        w[r][c] = keep[c] ? p * keep_scale : 0.0f;
      }
      ds[r][c] = p * (g - delta[r]);
    }
  }
}

template <class T>
__device__ void put_scores(const Lane& lane, const float (&x)[T::kRows][T::kColumns], float* to) {
#pragma unroll
  for (int r = 0; r < T::kRows; ++r)
#pragma unroll
    for (int c = 0; c < T::kColumns; ++c)
      to[(lane.row(T::kRows) + r) * T::kScorePitch + T::kColumns * lane.x + c] = x[r][c];
}

template <class T>
struct BackwardMemory {
  float query[T::kQueries * T::kPitch];
  float dout[T::kQueries * T::kPitch];
  float key[T::kKeys * T::kPitch];
  float value[T::kKeys * T::kPitch];
  float ds[T::kQueries * T::kScorePitch];
  float weight[T::kQueries * T::kScorePitch];  // dk, dv alone
};

// The rows of an array [B*T, C] or of a third of one [B*T, 3C] that belong to a head.
struct Rows {
  HeadRows query, key, value, dout, y;
  __device__ Rows(const BackwardArguments& a, const Head& head)
      : query(head.of_qkv(a.s, a.qkv, a.s.tokens, a.s.tokens, 0, a.vectors)),
        key(head.of_qkv(a.s, a.qkv, a.s.tokens, a.s.tokens, 1, a.vectors)),
        value(head.of_qkv(a.s, a.qkv, a.s.tokens, a.s.tokens, 2, a.vectors)),
        dout(head.of_rows(a.s, a.dy, a.vectors)),
        y(head.of_rows(a.s, a.y, a.vectors)) {}
};

// delta of this lane's queries, of which the first is i.
template <class T>
__device__ void query_deltas(const Lane& lane, const Rows& rows, int64_t i, float (&delta)[T::kRows]) {
#pragma unroll
  for (int r = 0; r < T::kRows; ++r) {
    float sum = 0;
    for (int c = lane.x; i + r < rows.y.end && c < rows.y.dim; c += kLanesX)
      sum += rows.y.x[(i + r) * rows.y.stride + c] * rows.dout.x[(i + r) * rows.dout.stride + c];
    delta[r] = group_sum<kLanesX>(sum);
  }
}

template <class T>
__device__ void dq_block(const BackwardArguments& a, BackwardMemory<T>* memory) {
  const Lane lane;
  const Head head(a.s);
  const Rows rows(a, head);
  const int64_t tokens = a.s.tokens, tile = (gridDim.y - 1 - blockIdx.y) * int64_t{T::kQueries};
  const int64_t end = tile + T::kQueries < tokens ? tile + T::kQueries : tokens;
  const int row = lane.row(T::kRows);
  const float scale = static_cast<float>(a.s.scale);
  load_rows<T, T::kQueries, false>(rows.query, tile, scale, memory->query);
  load_rows<T, T::kQueries, false>(rows.dout, tile, 1, memory->dout);
  float delta[T::kRows];
  query_deltas<T>(lane, rows, tile + row, delta);

  float dq[T::kRows][T::kChunks][T::kWidth] = {};
  for (int64_t j0 = 0; j0 < end; j0 += T::kKeys) {
    __syncthreads();  // all have done with the tile before
    load_rows<T, T::kKeys, true>(rows.key, j0, 1, memory->key);
    load_rows<T, T::kKeys, true>(rows.value, j0, 1, memory->value);
    __syncthreads();
    float w[T::kRows][T::kColumns], ds[T::kRows][T::kColumns];
    score_gradients<T>(a, lane, {head.index, tile + row, j0 + T::kColumns * lane.x}, memory->query,
                       memory->dout, memory->key, memory->value, delta, w, ds);
    put_scores<T>(lane, ds, memory->ds);
    __syncwarp();
#pragma unroll
    for (int j = 0; j < T::kKeys; ++j) {
      float k[T::kChunks][T::kWidth];
      load_channels<T>(lane, &memory->key[T::place(j) * T::kPitch], k);
#pragma unroll
      for (int r = 0; r < T::kRows; ++r) add_row<T>(memory->ds[(row + r) * T::kScorePitch + j], k, dq[r]);
    }
  }
  const int64_t to = head.at(a.s, tokens, 0);
#pragma unroll
  for (int r = 0; r < T::kRows; ++r)
    if (tile + row + r < tokens)
      put_row<T>(lane, rows.query.dim, a.vectors, scale, dq[r],
                 a.dqkv.from(to + (tile + row + r) * rows.query.stride));
}

template <class T>
__device__ void dkv_block(const BackwardArguments& a, BackwardMemory<T>* memory) {
  constexpr int kRows = T::kKeys / (kWarps * kLanesY);  // keys a lane owns
  const Lane lane;
  const Head head(a.s);
  const Rows rows(a, head);
  const int64_t tokens = a.s.tokens, tile = blockIdx.y * int64_t{T::kKeys};
  const int row = lane.row(kRows);
  load_rows<T, T::kKeys, true>(rows.key, tile, 1, memory->key);
  load_rows<T, T::kKeys, true>(rows.value, tile, 1, memory->value);

  float dk[kRows][T::kChunks][T::kWidth] = {}, dv[kRows][T::kChunks][T::kWidth] = {};
  for (int64_t i0 = tile / T::kQueries * T::kQueries; i0 < tokens; i0 += T::kQueries) {
    __syncthreads();
    load_rows<T, T::kQueries, false>(rows.query, i0, static_cast<float>(a.s.scale), memory->query);
    load_rows<T, T::kQueries, false>(rows.dout, i0, 1, memory->dout);
    __syncthreads();
    float delta[T::kRows], w[T::kRows][T::kColumns], ds[T::kRows][T::kColumns];
    query_deltas<T>(lane, rows, i0 + lane.row(T::kRows), delta);
    score_gradients<T>(a, lane, {head.index, i0 + lane.row(T::kRows), tile + T::kColumns * lane.x},
                       memory->query, memory->dout, memory->key, memory->value, delta, w, ds);
    put_scores<T>(lane, w, memory->weight);
    put_scores<T>(lane, ds, memory->ds);
    __syncthreads();
#pragma unroll 4
    for (int i = 0; i < T::kQueries; ++i) {
      float q[T::kChunks][T::kWidth], d[T::kChunks][T::kWidth];
      load_channels<T>(lane, &memory->query[i * T::kPitch], q);
      load_channels<T>(lane, &memory->dout[i * T::kPitch], d);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        add_row<T>(memory->weight[i * T::kScorePitch + row + r], d, dv[r]);
        add_row<T>(memory->ds[i * T::kScorePitch + row + r], q, dk[r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (tile + row + r >= tokens) break;
    const int64_t at = (tile + row + r) * rows.key.stride;
    put_row<T>(lane, rows.key.dim, a.vectors, 1, dk[r], a.dqkv.from(head.at(a.s, tokens, 1) + at));
    put_row<T>(lane, rows.key.dim, a.vectors, 1, dv[r], a.dqkv.from(head.at(a.s, tokens, 2) + at));
  }
}

// Two blocks a processor at least, as in forward: so the compiler has registers enough.
template <class ForQueries, class ForKeys>
__global__ void __launch_bounds__(kThreads, 2) attention_backward_kernel(BackwardArguments a) {
  DYNAMIC_SHARED(unsigned char, memory);
  if (blockIdx.z == 0)
    dq_block<ForQueries>(a, reinterpret_cast<BackwardMemory<ForQueries>*>(memory));
  else
    dkv_block<ForKeys>(a, reinterpret_cast<BackwardMemory<ForKeys>*>(memory));
}

template <class ForQueries, class ForKeys>
void backward(const BackwardArguments& a, Stream stream) {
  static_assert(ForQueries::kQueries == ForKeys::kKeys);
  const auto heads = static_cast<unsigned>(a.s.batch * a.s.heads);
  gpu::launch<attention_backward_kernel<ForQueries, ForKeys>>(
      {dim3(heads, blocks_for(a.s.tokens, ForQueries::kQueries), 2), kThreads,
       std::max(offsetof(BackwardMemory<ForQueries>, weight), sizeof(BackwardMemory<ForKeys>)), stream},
      a);
}

}  // namespace

void attention_backward(const AttentionShape& s, const float* qkv, const float* y, const float* lse,
                        const float* dy, Into<float> dqkv, Stream stream) {
  if (!dqkv) return;
  if (s.dim > kWidestHead)
    moe::cuda::refuse("attention: heads wider than 128 channels do not run on the GPU");
  if (moe::cuda::usable_precision() == Precision::bf16)
    return attention_backward_bf16(s, qkv, y, lse, dy, dqkv, stream);
  const BackwardArguments a{s, in_vectors(s.dim, qkv, y, dy, dqkv.to), qkv, y, lse, dy, dqkv};
  if (s.dim <= 16) return backward<Tile<16, 32, 32>, Tile<16, 32, 32>>(a, stream);
  if (s.dim <= 32) return backward<Tile<32, 32, 32>, Tile<32, 32, 32>>(a, stream);
  if (s.dim <= 64) return backward<Tile<64, 32, 32>, Tile<64, 32, 32>>(a, stream);
  backward<Tile<128, 32, 16>, Tile<128, 16, 32>>(a, stream);
}

}  // namespace moe::kernels::cuda
