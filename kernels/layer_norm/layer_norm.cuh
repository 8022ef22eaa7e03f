#pragma once
// Layer norm on the GPU, for layer_norm itself and for what is fused with it.
//
// A warp owns a row of y, mean and rstd, or of the gradient of x. Rows of up to 1024 columns are read once
// and stay in registers; longer ones are read again for every pass.
//
// dgain and dbias: in backward a block takes a run of rows, and each lane sums its columns over the rows of
// its warp while they are in registers. The warps' sums are added up in order, those of the blocks in a fixed
// tree, in a second launch. Long rows leave these sums to column_sums.cuh, which reads x and dy again.

#include <algorithm>

#include "core/philox.h"
#include "kernels/column_sums.cuh"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/reduce.cuh"

namespace moe::kernels::cuda::normalize {

inline constexpr int kWarps = 4, kThreads = kWarps * kWarp;
// In backward a block takes at least kRun rows, and there are at most kRuns blocks.
inline constexpr int64_t kRun = kWarps, kRuns = 256;
inline constexpr int kPartialRows = 8;        // blocks' sums that are read side by side
inline constexpr int64_t kPiece = 4 * kWarp;  // columns a warp reads at once
inline constexpr int kReadAgain = 0;          // pieces in registers: none

// A row of C columns as one lane of a warp sees it: four columns of each piece, kPieces of them in registers.
template <int kPieces>
class Row {
 public:
  __device__ Row(const float* row, int64_t dim, bool vectors) : Row(dim, vectors, row) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) load4(row + column(p), dim - column(p), vectors, x_[p]);
  }
  // A row that does not exist yet: make(c, left, x) gives its columns c .. c+3 and leaves them at `row`.
  template <class Make>
  __device__ Row(const float* row, int64_t dim, bool vectors, Make make) : Row(dim, vectors, row) {
    if constexpr (kPieces == kReadAgain) {
      float x[4];
      for (int p = 0; column(p) < dim; ++p) make(column(p), dim - column(p), x);
    } else {
#pragma unroll
      for (int p = 0; p < kPieces; ++p) make(column(p), dim - column(p), x_[p]);
    }
  }

  __device__ int64_t column(int p) const {
    return p * kPiece + lane_;
  }

  // This lane's part of piece p.
  __device__ void piece(int p, float (&x)[4]) const {
    if constexpr (kPieces == kReadAgain) {
      load4(row_ + column(p), dim_ - column(p), vectors_, x);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] = x_[p][j];
    }
  }

  // body(p, c, left, x) for each piece: this lane's four columns c.. of it, of which `left` exist; x of
  // others is 0.
  template <class Body>
  __device__ void each(Body body) const {
    if constexpr (kPieces == kReadAgain) {
      for (int p = 0; column(p) < dim_; ++p) {
        float x[4];
        load4(row_ + column(p), dim_ - column(p), vectors_, x);
        body(p, column(p), dim_ - column(p), x);
      }
    } else {
#pragma unroll
      for (int p = 0; p < kPieces; ++p) body(p, column(p), dim_ - column(p), x_[p]);
    }
  }

 private:
  __device__ Row(int64_t dim, bool vectors, const float* row)
      : row_(row), dim_(dim), vectors_(vectors), lane_(4 * (threadIdx.x % kWarp)) {}

  const float* row_;
  int64_t dim_;
  bool vectors_;
  int lane_;
  float x_[kPieces > 0 ? kPieces : 1][4];
};

// rows.template row<kPieces>(n, dim, vectors): row n as this lane sees it. Two blocks a processor at least:
// left to itself, the compiler saves registers and spills.
template <int kPieces, class Rows>
__global__ void __launch_bounds__(kThreads, 2)
    layer_norm_forward_kernel(LayerNormShape s, float eps, bool vectors, Rows rows, const float* gain,
                              const float* bias, float* y, float* mean, float* rstd) {
  const int64_t n = global_warp();
  if (n >= s.rows) return;
  const Row<kPieces> row = rows.template row<kPieces>(n, s.dim, vectors);
  float sum = 0;
  row.each([&](int, int64_t, int64_t, const float(&v)[4]) { sum += (v[0] + v[1]) + (v[2] + v[3]); });
  const float m = group_sum(sum) / static_cast<float>(s.dim);
  float squares = 0;
  row.each([&](int, int64_t, int64_t left, const float(&v)[4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (j < left) squares += (v[j] - m) * (v[j] - m);
  });
  const float r = 1.0f / sqrtf(group_sum(squares) / static_cast<float>(s.dim) + eps);
  row.each([&](int, int64_t c, int64_t left, const float(&v)[4]) {
    float g[4], b[4], out[4];
    load4(gain + c, left, vectors, g);
    load4(bias + c, left, vectors, b);
#pragma unroll
    for (int j = 0; j < 4; ++j) out[j] = (v[j] - m) * r * g[j] + b[j];
    store4(y + n * s.dim + c, left, vectors, out);
  });
  if (threadIdx.x % kWarp == 0) {
    mean[n] = m;
    rstd[n] = r;
  }
}

// gradient.put(n * C + c, left, vectors, v): where v, the gradient of the elements c .. c+3 of row n of x, of
// which `left` exist, goes; gradient.wanted(): whether it is wanted at all.
template <class Gradient>
struct Backward {
  LayerNormShape s;
  bool vectors;
  const float *x, *gain, *mean, *rstd, *dy;
  Gradient gradient;
};

// The gradient of row n. With sums, adds dy * h and dy of this lane's columns to gain_sum and bias_sum.
template <int kPieces, bool kSums, class Gradient>
__device__ void backward_row(const Backward<Gradient>& a, int64_t n,
                             float (&gain_sum)[kPieces > 0 ? kPieces : 1][4],
                             float (&bias_sum)[kPieces > 0 ? kPieces : 1][4]) {
  const Row<kPieces> x(a.x + n * a.s.dim, a.s.dim, a.vectors), dy(a.dy + n * a.s.dim, a.s.dim, a.vectors);
  const float m = a.mean[n], r = a.rstd[n];
  float dh_sum = 0, dh_h_sum = 0;
  // body(p, c, left, h, dy, dh) for each piece
  const auto each = [&](auto body) {
    dy.each([&](int p, int64_t c, int64_t left, const float(&d)[4]) {
      float g[4], h[4], dh[4];
      load4(a.gain + c, left, a.vectors, g);
      x.piece(p, h);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        h[j] = (h[j] - m) * r;
        dh[j] = d[j] * g[j];
      }
      body(p, c, left, h, d, dh);
    });
  };
  each([&](int p, int64_t, int64_t, const float(&h)[4], const float(&d)[4], const float(&dh)[4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      dh_sum += dh[j];
      dh_h_sum += dh[j] * h[j];
      if constexpr (kSums) {
        gain_sum[p][j] += d[j] * h[j];
        bias_sum[p][j] += d[j];
      }
    }
  });
  if (!a.gradient.wanted()) return;
  const float dh_mean = group_sum(dh_sum) / static_cast<float>(a.s.dim);
  const float dh_h_mean = group_sum(dh_h_sum) / static_cast<float>(a.s.dim);
  each([&](int, int64_t c, int64_t left, const float(&h)[4], const float(&)[4], const float(&dh)[4]) {
    float v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = r * (dh[j] - dh_mean - h[j] * dh_h_mean);
    if (left > 0) a.gradient.put(n * a.s.dim + c, left, a.vectors, v);
  });
}

// partial [blocks, 2, C]: each block's sums for dgain and dbias, over `run` rows. Two blocks a processor as
// above.
template <int kPieces, class Gradient>
__global__ void __launch_bounds__(kThreads, 2)
    layer_norm_backward_kernel(Backward<Gradient> a, int64_t run, float* partial) {
  SHARED(sums, float[kWarps][2][kPieces * kPiece]);
  float gain_sum[kPieces][4] = {}, bias_sum[kPieces][4] = {};
  const int warp = threadIdx.x / kWarp, lane = 4 * (threadIdx.x % kWarp);
  const int64_t begin = blockIdx.x * run, end = begin + run < a.s.rows ? begin + run : a.s.rows;
  for (int64_t n = begin + warp; n < end; n += kWarps) backward_row<kPieces, true>(a, n, gain_sum, bias_sum);
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    store4(&sums[warp][0][p * kPiece + lane], 4, true, gain_sum[p]);
    store4(&sums[warp][1][p * kPiece + lane], 4, true, bias_sum[p]);
  }
  __syncthreads();
  const int dim = static_cast<int>(a.s.dim), fours = (dim + 3) / 4;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * fours; i += kThreads) {
    const int which = i >= fours, c = 4 * (i - which * fours);
    float sum[4] = {};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      float of_warp[4];
      load4(&sums[w][which][c], 4, true, of_warp);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[j] += of_warp[j];
    }
    store4(partial + (2 * blockIdx.x + which) * a.s.dim + c, dim - c, a.vectors, sum);
  }
}

// A block owns 32 elements of dgain and dbias. A warp adds up every kPartialRows-th block's sums of them, the
// first one then those of the warps.
static __global__ void __launch_bounds__(kPartialRows* kWarp)
    add_partial_kernel(int64_t blocks, int64_t dim, const float* partial, float* dgain, float* dbias) {
  SHARED(sums, float[kPartialRows][kWarp]);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  float* const out = i < dim ? dgain : dbias;
  float sum = 0;
  if (i < 2 * dim && out)
#pragma unroll 8
    for (int64_t b = warp; b < blocks; b += kPartialRows) sum += partial[b * 2 * dim + i];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || i >= 2 * dim || !out) return;
  float total = 0;
#pragma unroll
  for (int w = 0; w < kPartialRows; ++w) total += sums[w][lane];
  out[i < dim ? i : i - dim] += total;
}

template <class Gradient>
__global__ void __launch_bounds__(kThreads) layer_norm_long_backward_kernel(Backward<Gradient> a) {
  float unused[1][4];
  const int64_t n = global_warp();
  if (n < a.s.rows) backward_row<kReadAgain, false>(a, n, unused, unused);
}

// dy * h, for the long rows' dgain.
template <class Gradient>
struct GainTerm {
  Backward<Gradient> a;
  __device__ void operator()(int64_t n, int64_t c, int64_t left, float (&v)[4]) const {
    float x[4];
    load4(a.x + n * a.s.dim + c, left, a.vectors, x);
    load4(a.dy + n * a.s.dim + c, left, a.vectors, v);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] *= (x[j] - a.mean[n]) * a.rstd[n];
  }
};

// Calls with<kPieces>() for the fewest pieces that hold a row, kReadAgain when it is too long.
template <class With>
void with_pieces(int64_t dim, With with) {
  if (dim <= kPiece) return with.template operator()<1>();
  if (dim <= 2 * kPiece) return with.template operator()<2>();
  if (dim <= 4 * kPiece) return with.template operator()<4>();
  if (dim <= 8 * kPiece) return with.template operator()<8>();
  with.template operator()<kReadAgain>();
}

template <class Rows>
void forward(LayerNormShape s, double eps, bool vectors, const Rows& rows, const float* gain,
             const float* bias, float* y, float* mean, float* rstd, Stream stream) {
  with_pieces(s.dim, [&]<int kPieces>() {
    gpu::launch<layer_norm_forward_kernel<kPieces, Rows>>({blocks_for(s.rows, kWarps), kThreads, 0, stream},
                                                          s, static_cast<float>(eps), vectors, rows, gain,
                                                          bias, y, mean, rstd);
  });
}

template <class Gradient>
void backward(const Backward<Gradient>& a, float* dgain, float* dbias, Stream stream) {
  const LayerNormShape& s = a.s;
  with_pieces(s.dim, [&]<int kPieces>() {
    if constexpr (kPieces == kReadAgain) {
      if (a.gradient.wanted())
        gpu::launch<layer_norm_long_backward_kernel<Gradient>>(
            {blocks_for(s.rows, kWarps), kThreads, 0, stream}, a);
      if (dgain) add_column_sums(s.rows, s.dim, GainTerm<Gradient>{a}, dgain, stream);
      if (dbias) add_column_sums(s.rows, s.dim, rows_of(a.dy, s.dim), dbias, stream);
    } else {
      const int64_t run = run_length(s.rows, kRun, kRuns);
      const unsigned blocks = blocks_for(s.rows, run);
      float* const partial = scratch<float>(2 * blocks * s.dim, stream);
      gpu::launch<layer_norm_backward_kernel<kPieces, Gradient>>({blocks, kThreads, 0, stream}, a, run,
                                                                 partial);
      gpu::launch<add_partial_kernel>({blocks_for(2 * s.dim, kWarp), kPartialRows * kWarp, 0, stream},
                                      int64_t{blocks}, s.dim, partial, dgain, dbias);
    }
  });
}

}  // namespace moe::kernels::cuda::normalize
