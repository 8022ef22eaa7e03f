// Two launches. A thread owns a piece and finds its factors, in double, from its number of updates, which it
// counts. Then a block owns 4096 elements of one piece; every array is read and written once.

#include <cmath>

#include "kernels/adamw/adamw.h"
#include "kernels/segments.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

using Segment = AdamWSegment<float>;

// What all steps share.
struct Factors {
  float beta1, rest1, beta2, rest2, eps;
};
struct Decays {
  double log_beta1, log_beta2, weight_decay;
};

__global__ void __launch_bounds__(kSegmentThreads)
    adamw_rates_kernel(int64_t pieces, Decays d, const StepMemory* memory, const int64_t* kept,
                       const int32_t* expert, int64_t* steps, AdamWRates* rates) {
  const int64_t i = global_thread();
  if (i >= pieces) return;
  if (memory->outcome.verdict != Verdict::good) {
    rates[i] = {AdamWRates::clear, 0, 0, 0, 0};
    return;
  }
  if (expert[i] >= 0 && kept[expert[i]] == 0) {
    rates[i] = {AdamWRates::leave, 0, 0, 0, 0};
    return;
  }
  const double lr = memory->inputs.learning_rate, step = static_cast<double>(++steps[i]);
  // 1 - beta^step = -expm1(step log beta)
  rates[i] = {AdamWRates::update, static_cast<float>(memory->outcome.grad_scale),
              static_cast<float>(1 - lr * d.weight_decay),
              static_cast<float>(lr / -expm1(step * d.log_beta1)),
              static_cast<float>(1 / sqrt(-expm1(step * d.log_beta2)))};
}

__global__ void __launch_bounds__(kSegmentThreads)
    adamw_kernel(SegmentTable<Segment> table, Factors f, const AdamWRates* rates) {
  const SegmentBlock<Segment> block = segment_block(table);
  const Segment& s = block.segment;
  const AdamWRates r = rates[block.index];
  if (r.action == AdamWRates::leave) return;
  const bool vectors = in_vectors(0, s.value, s.grad, s.m, s.v);
  for (int64_t i = block.begin + 4 * threadIdx.x; i < block.end; i += 4 * kSegmentThreads) {
    const int64_t left = block.end - i;
    float value[4], grad[4] = {0, 0, 0, 0}, m[4], v[4];
    if (r.action == AdamWRates::clear) {
      store4(s.grad + i, left, vectors, grad);
      continue;
    }
    load4(s.value + i, left, vectors, value);
    load4(s.grad + i, left, vectors, grad);
    load4(s.m + i, left, vectors, m);
    load4(s.v + i, left, vectors, v);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float g = r.scale * grad[j];
      m[j] = f.beta1 * m[j] + f.rest1 * g;
      v[j] = f.beta2 * v[j] + f.rest2 * (g * g);
      value[j] = r.keep * value[j] - r.rate * m[j] / (sqrtf(v[j]) * r.inverse_root + f.eps);
      grad[j] = 0;
    }
    store4(s.value + i, left, vectors, value);
    store4(s.grad + i, left, vectors, grad);
    store4(s.m + i, left, vectors, m);
    store4(s.v + i, left, vectors, v);
  }
}

}  // namespace

void adamw(const AdamWOptions& o, const AdamWPieces<float>& pieces, const StepMemory* memory,
           const int64_t* kept, Stream stream) {
  const int64_t count = pieces.table.count;
  gpu::launch<adamw_rates_kernel>({blocks_for(count, kSegmentThreads), kSegmentThreads, 0, stream}, count,
                                  Decays{std::log(o.beta1), std::log(o.beta2), o.weight_decay}, memory, kept,
                                  pieces.expert, pieces.steps, pieces.rates);
  const Factors f{static_cast<float>(o.beta1), static_cast<float>(1 - o.beta1), static_cast<float>(o.beta2),
                  static_cast<float>(1 - o.beta2), static_cast<float>(o.eps)};
  gpu::launch<adamw_kernel>({static_cast<unsigned>(pieces.table.blocks), kSegmentThreads, 0, stream},
                            pieces.table, f, pieces.rates);
}

}  // namespace moe::kernels::cuda
