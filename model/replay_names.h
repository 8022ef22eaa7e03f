#pragma once
// How the original program names and cuts the parameters of this one. Part of model/replay.cpp.

#include <string>
#include <vector>

#include "model/moe_lm.h"

namespace moe {

// One tensor of the original: views of the rows of a parameter that it corresponds to, in its own shape.
struct RecordedTensor {
  std::string name;        // "blocks.0.sa.heads.3.key.weight"
  std::string other_name;  // what else it may be called, or empty
  Tensor value, grad;
};

// In place of one parameter of ours the original has one tensor, one for each head, or one for each expert.
std::vector<RecordedTensor> recorded_tensors(const ModelConfig&, const Parameter&);

// The weight that only a noisy router has.
std::string noise_router_name(int64_t layer);

}  // namespace moe
