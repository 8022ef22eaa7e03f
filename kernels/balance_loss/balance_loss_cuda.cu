// A group of lanes owns a token: forward its row of 2E numbers in shared memory, probabilities and how often
// it chose each expert; backward its row of dlogits, for which the probabilities are computed again. Forward
// a block sums its tokens' rows and one last block adds up the blocks (kernels/routing/expert_sums.cuh).

#include "kernels/balance_loss/balance_loss.h"
#include "kernels/routing/expert_sums.cuh"

namespace moe::kernels::cuda {
namespace {

template <int kGroup>
__global__ void __launch_bounds__(kRouterThreads)
    balance_loss_forward_kernel(BalanceShape s, int64_t run, const float* logits, const int32_t* expert,
                                double* partial) {
  const int64_t E = s.experts, k = s.topk;
  sum_rows<kGroup>(s.tokens, run, 2 * E, partial, [&](int64_t token, bool exists, int lane, float* row) {
    const float* const x = logits + token * E;
    const int64_t count = exists ? E : 0;
    const RowExponentials all = row_exponentials<kGroup>(x, count, lane);
    for (int64_t e = lane; e < count; e += kGroup) {
      row[e] = expf(x[e] - all.most) / all.sum;
      int times = 0;
      for (int64_t j = 0; j < k; ++j) times += expert[token * k + j] == e;
      row[E + e] = static_cast<float>(times);
    }
  });
}

// One block; thread t owns elements t, t + kFinalThreads, ... of share.
__global__ void __launch_bounds__(kFinalThreads)
    balance_loss_final_kernel(BalanceShape s, int64_t blocks, const double* partial, float* loss,
                              float* share) {
  const int64_t E = s.experts;
  const double tokens = static_cast<double>(s.tokens > 0 ? s.tokens : 1);
  double sum = 0;
  for (int64_t e = threadIdx.x; e < E; e += kFinalThreads) {
    const double P = partial_sum(partial, blocks, 2 * E, e) / tokens;
    const double f = partial_sum(partial, blocks, 2 * E, E + e) / (tokens * static_cast<double>(s.topk));
    share[e] = static_cast<float>(f);
    sum += f * P;
  }
  sum = block_sum<kFinalThreads>(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(static_cast<double>(E) * sum);
}

template <int kGroup>
__global__ void __launch_bounds__(kRouterThreads)
    balance_loss_backward_kernel(BalanceShape s, const float* logits, const float* share, const float* dloss,
                                 float* dlogits) {
  const RouterPlace<kGroup> at(static_cast<int64_t>(blockIdx.x) * (blockDim.x / kGroup));
  const int64_t count = at.token < s.tokens ? s.experts : 0;
  const float* const x = logits + at.token * s.experts;
  const RowExponentials all = row_exponentials<kGroup>(x, count, at.lane);
  float mean = 0;
  for (int64_t e = at.lane; e < count; e += kGroup) mean += share[e] * (expf(x[e] - all.most) / all.sum);
  mean = group_sum<kGroup>(mean);
  const float scale = *dloss * static_cast<float>(s.experts) / static_cast<float>(s.tokens);
  for (int64_t e = at.lane; e < count; e += kGroup)
    dlogits[at.token * s.experts + e] += scale * (expf(x[e] - all.most) / all.sum) * (share[e] - mean);
}

}  // namespace

void balance_loss_forward(BalanceShape s, const float* logits, const int32_t* expert, float* loss,
                          float* share, Stream stream) {
  with_group(s.experts, [&]<int kGroup>() {
    const RowSums sums = row_sums(s.tokens, 2 * s.experts, kGroup, stream);
    gpu::launch<balance_loss_forward_kernel<kGroup>>(sums.config, s, sums.run, logits, expert, sums.partial);
    gpu::launch<balance_loss_final_kernel>({1, kFinalThreads, 0, stream}, s, sums.blocks, sums.partial, loss,
                                           share);
  });
}

void balance_loss_backward(BalanceShape s, const float* logits, const float* share, const float* dloss,
                           float* dlogits, Stream stream) {
  if (!dlogits) return;
  with_group(s.experts, [&]<int kGroup>() {
    gpu::launch<balance_loss_backward_kernel<kGroup>>(
        {blocks_for(s.tokens, kRouterThreads / kGroup), kRouterThreads, 0, stream}, s, logits, share, dloss,
        dlogits);
  });
}

}  // namespace moe::kernels::cuda
