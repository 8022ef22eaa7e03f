#pragma once
// What training minimises.

#include <vector>

#include "model/layers.h"

namespace moe {

struct AuxiliaryWeights {
  double importance = 0, load = 0, balance = 0, z = 0;
};
AuxiliaryWeights auxiliary_weights(const TrainConfig&);

// The weighted auxiliary losses, summed over the layers, shape [1]; undefined when all weights are 0.
// The load loss needs noisy routing in every layer and is an Error without it.
Var auxiliary_loss(Tape&, const std::vector<LayerRouting>&, const AuxiliaryWeights&);

}  // namespace moe
