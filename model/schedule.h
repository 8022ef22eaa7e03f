#pragma once
// The learning rate over a run of N = max_iters steps.
//
//   warm-up   the first W = warmup_iters steps: lr (step + 1) / (W + 1)
//   constant  lr
//   linear    (1 - x) lr + x min
//   cosine    min + (lr - min) (1 + cos(pi x)) / 2    (Loshchilov and Hutter 2017, one cycle)
//   wsd       lr, and over the last D = decay_iters steps linearly down to min    (Hu et al. 2024; Haegele et
//             al. 2024)
//
// x goes from 0 at step W to 1 at the last step, which takes min_learning_rate.

#include <cstdint>

#include "model/config.h"

namespace moe {

double learning_rate_at(const TrainConfig&, int64_t step);

}  // namespace moe
