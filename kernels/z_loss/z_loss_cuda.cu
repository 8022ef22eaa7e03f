// Forward: a group of lanes owns a token's lse; one block adds up the squares. Backward: a thread owns four
// elements of dlogits. Everything is read once, lse once more for the sum.

#include "kernels/elementwise.cuh"
#include "kernels/mean.cuh"
#include "kernels/routing/rows.cuh"
#include "kernels/z_loss/z_loss.h"

namespace moe::kernels::cuda {
namespace {

template <int kGroup>
__global__ void __launch_bounds__(kRouterThreads)
    z_loss_kernel(int64_t tokens, int64_t experts, const float* logits, float* lse) {
  const RouterPlace<kGroup> at(static_cast<int64_t>(blockIdx.x) * (blockDim.x / kGroup));
  const int64_t count = at.token < tokens ? experts : 0;
  const RowExponentials all = row_exponentials<kGroup>(logits + at.token * experts, count, at.lane);
  if (count && at.lane == 0) lse[at.token] = all.most + logf(all.sum);
}

struct Square {
  const float* lse;
  __device__ double operator()(int64_t n) const {
    const double x = static_cast<double>(lse[n]);
    return x * x;
  }
};

// in = dlogits, logits
struct AddGradient {
  int64_t tokens, experts;
  const float *lse, *dloss;
  __device__ void operator()(int64_t i, const float (&in)[2][4], float (&out)[1][4]) const {
    const float scale = *dloss * 2.0f / static_cast<float>(tokens);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (i + j >= tokens * experts) break;
      const float x = lse[(i + j) / experts];
      out[0][j] = in[0][j] + scale * x * expf(in[1][j] - x);
    }
  }
};

}  // namespace

void z_loss_forward(int64_t tokens, int64_t experts, const float* logits, float* loss, float* lse,
                    Stream stream) {
  with_group(experts, [&]<int kGroup>() {
    gpu::launch<z_loss_kernel<kGroup>>(
        {blocks_for(tokens, kRouterThreads / kGroup), kRouterThreads, 0, stream}, tokens, experts, logits,
        lse);
  });
  mean_of(tokens, Square{lse}, loss, stream);
}

void z_loss_backward(int64_t tokens, int64_t experts, const float* logits, const float* lse,
                     const float* dloss, float* dlogits, Stream stream) {
  if (!dlogits) return;
  elementwise<2, 1>(tokens * experts, {{dlogits, logits}}, {{dlogits}},
                    AddGradient{tokens, experts, lse, dloss}, stream);
}

}  // namespace moe::kernels::cuda
