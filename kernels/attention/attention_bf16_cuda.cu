// Forward on tensor cores. As attention_cuda.cu: a block owns a tile of queries of one head and walks through
// the keys; what it keeps of every query lies in the registers of the four lanes that share its row of
// scores. Queries are read once, keys and values once for every tile of queries. Keys that none of a warp's
// queries see are left out by that warp: they would multiply by e^0 and add zeros. So a query's bits do not
// depend on the other positions of the call.

#include "kernels/attention/attention_bf16.h"
#include "kernels/attention/tensor_tiles.cuh"

namespace moe::kernels::cuda {
namespace {

using namespace attention;

// The running sums of this lane's two queries over the keys seen so far.
template <class T>
struct TensorRunning {
  float most[2] = {-INFINITY, -INFINITY};
  float total[2] = {0, 0};  // of this lane's keys alone
  typename T::Channels out = {};

  // Turns the scores of a tile into weights relative to the largest so far.
  __device__ void take(typename T::Scores& s) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = s[0][2 * r];
#pragma unroll
      for (int n = 0; n < T::kOther / 8; ++n)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) top = s[n][e] > top ? s[n][e] : top;
      top = group_max<4>(top);
      top = top > most[r] ? top : most[r];
      const float rescale = expf(most[r] - top);
      most[r] = top;
      total[r] *= rescale;
#pragma unroll
      for (int n = 0; n < T::kOther / 8; ++n)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) total[r] += s[n][e] = expf(s[n][e] - top);
#pragma unroll
      for (int n = 0; n < T::kDim / 8; ++n) {
        out[n][2 * r] *= rescale;
        out[n][2 * r + 1] *= rescale;
      }
    }
  }
};

template <class T>
__global__ void __launch_bounds__(T::kThreads)
    attention_forward_bf16_kernel(AttentionShape s, bool vectors, const float* qkv, const float* keys,
                                  int64_t key_rows, float* y, float* lse) {
  using Queries = PairRows<T, T::kRows>;
  using Keys = PairRows<T, T::kOther>;
  SHARED(queries, Queries);
  SHARED(key_tile, Keys);
  SHARED(value_tile, Keys);
  const ScoreLane at;
  const Head head(s);
  const int64_t positions = s.past + s.tokens, first = positions - s.queries;
  // The longest rows first, so that they do not run alone at the end.
  const int64_t tile = (gridDim.y - 1 - blockIdx.y) * int64_t{T::kRows};
  const int64_t end = first + tile + T::kRows < positions ? first + tile + T::kRows : positions;
  const HeadRows key = head.of_qkv(s, keys, key_rows, positions, 1, vectors);
  const HeadRows value = head.of_qkv(s, keys, key_rows, positions, 2, vectors);
  const float scale = static_cast<float>(s.scale);
  load_pairs<T, T::kRows>(head.of_qkv(s, qkv, s.tokens, s.tokens, 0, vectors), first + tile - s.past,
                          queries);
  __syncthreads();
  const LeftRows<T, true> query(queries);

  const int64_t row = tile + 16 * at.warp, i = first + row + at.g;  // this lane's queries: i and i + 8
  TensorRunning<T> running;
  for (int64_t j0 = 0; j0 < end; j0 += T::kOther) {
    __syncthreads();  // all have done with the tile before
    load_pairs<T, T::kOther>(key, j0, key_tile);
    load_pairs<T, T::kOther>(value, j0, value_tile);
    __syncthreads();
    if (j0 > first + row + 15) continue;  // of the whole warp
    typename T::Scores w;
    score_products<T>(query, key_tile, w);
#pragma unroll
    for (int n = 0; n < T::kOther / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        w[n][e] = j0 + 8 * n + 2 * at.t + e % 2 > i + e / 2 * 8 ? -INFINITY : scale * w[n][e];
    running.take(w);
    if (s.drop.drops()) {
#pragma unroll
      for (int n = 0; n < T::kOther / 8; ++n) {
        const unsigned keep = keep_by_query(s, head.index, first + row, j0 + 8 * n);
#pragma unroll
        for (int e = 0; e < 4; ++e) w[n][e] = keep >> e & 1 ? w[n][e] : 0.0f;
      }
    }
    add_weighted<T>(w, value_tile, running.out);
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float total = group_sum<4>(running.total[r]), inverse = static_cast<float>(s.drop.scale) / total;
#pragma unroll
    for (int n = 0; n < T::kDim / 8; ++n) {
      running.out[n][2 * r] *= inverse;
      running.out[n][2 * r + 1] *= inverse;
    }
    const int64_t q = row + at.g + 8 * r;
    if (at.t == 0 && q < s.queries) lse[head.index * s.queries + q] = running.most[r] + logf(total);
  }
  const int64_t width = s.heads * s.dim;
  float* const to = y + head.b * s.queries * width + head.h * s.dim;
  each_four<T>(running.out, [&](int r, int channel, const float(&v)[4]) {
    if (row + r < s.queries) store4(to + (row + r) * width + channel, s.dim - channel, vectors, v);
  });
}

}  // namespace

void attention_forward_bf16(const AttentionShape& s, const float* qkv, const float* keys, int64_t key_rows,
                            float* y, float* lse, Stream stream) {
  with_tensor_tile(s.dim, s.queries, [&]<class T>() {
    gpu::launch<attention_forward_bf16_kernel<T>>(
        {dim3(static_cast<unsigned>(s.batch * s.heads), blocks_for(s.queries, T::kRows)), T::kThreads, 0,
         stream},
        s, in_vectors(s.dim, qkv, keys, y), qkv, keys, key_rows, y, lse);
  });
}

}  // namespace moe::kernels::cuda
