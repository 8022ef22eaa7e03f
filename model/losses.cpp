#include "model/losses.h"

namespace moe {

AuxiliaryWeights auxiliary_weights(const TrainConfig& c) {
  return {c.importance_loss, c.load_loss, c.balance_loss, c.z_loss};
}

Var auxiliary_loss(Tape& tape, const std::vector<LayerRouting>& routing, const AuxiliaryWeights& w) {
  Var sum;
  const auto accumulate = [&](double weight, auto&& loss) {
    if (weight == 0) return;
    const Var weighted = scale(tape, loss(), weight);
    sum = sum.defined() ? add(tape, sum, weighted) : weighted;
  };
  for (const LayerRouting& layer : routing) {
    const RouterOutput& r = layer.router;
    accumulate(w.importance, [&] { return importance_loss(tape, r.gating, layer.plan.experts); });
    accumulate(w.load, [&] {
      require(r.noise_logits.defined(), "load_loss: the router added no noise");
      return load_loss(tape, r.logits, r.noise_logits, r.noise, layer.plan.topk);
    });
    accumulate(w.balance, [&] { return balance_loss(tape, r.logits, r.gating.expert); });
    accumulate(w.z, [&] { return z_loss(tape, r.logits); });
  }
  return sum;
}

}  // namespace moe
