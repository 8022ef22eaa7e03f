#pragma once
// Replays a recorded training run of the original makeMoE program through this model and optimizer: the same
// initial weights, batches and router noise must give the same logits, losses, gradients and final weights.
// tests/golden/README.md describes the recording; docs/numerics.md derives the tolerances.

#include <string>
#include <vector>

#include "core/safetensors.h"

namespace moe {

// The largest deviation among all tensors of a kind.
struct ReplayRow {
  std::string what;  // "logits, step 0"
  double error = 0;  // relative to the largest magnitude in the tensor
  double tolerance = 0;
  std::string worst;  // the tensor it was found in, under its name in the recording

  bool passed() const { return error <= tolerance; }  // false for NaN
};

// Computes in `dtype`, f32 or f64. Throws ErrorKind::checkpoint for a file that is not such a recording.
std::vector<ReplayRow> replay_makemoe(const Safetensors& recording, DType dtype);

}  // namespace moe
