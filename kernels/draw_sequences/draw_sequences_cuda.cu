// A thread owns a token and its target, and draws the start of its sequence for itself: a few dozen
// instructions against a barrier.

#include "kernels/draw_sequences/draw_sequences.h"
#include "kernels/grid.cuh"
#include "kernels/random.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    draw_sequences_kernel(SequencesShape s, RngAddress rng, const int32_t* ids, int32_t* tokens,
                          int32_t* targets) {
  const int64_t n = global_thread();
  if (n >= s.batch * s.length) return;
  const int64_t sequence = s.first + n / s.length;
  const int64_t start = random_below(resolved(rng), static_cast<uint64_t>(sequence), s.ids - s.length);
  tokens[n] = ids[start + n % s.length];
  targets[n] = ids[start + n % s.length + 1];
}

}  // namespace

void draw_sequences(SequencesShape s, const RngAddress& rng, const int32_t* ids, int32_t* tokens,
                    int32_t* targets, Stream stream) {
  gpu::launch<draw_sequences_kernel>({blocks_for(s.batch * s.length, kThreads), kThreads, 0, stream}, s, rng,
                                     ids, tokens, targets);
}

}  // namespace moe::kernels::cuda
