#include "kernels/gating/gating.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {
namespace {

using kernels::RouterNoise;

Gating gate(Tape& tape, const Var& logits, const Var& noise_logits, const Noise& noise, int64_t k,
            GateSoftmax softmax) {
  require(logits.shape().rank() == 2, "gating: logits must be [N, E], got {}", logits.shape().str());
  const kernels::GatingShape s{logits.size(0), logits.size(1), k};
  require(1 <= k && k <= s.experts, "gating: k must be in [1, {}], got {}", s.experts, k);
  const bool noisy = noise_logits.defined(), drawn = noisy && !noise.values.defined();
  require(!noisy || noise_logits.shape() == logits.shape(), "gating: noise_logits must be {}, got {}",
          logits.shape().str(), noise_logits.shape().str());
  require(!noise.values.defined() || noise.values.shape() == logits.shape(),
          "gating: noise must be {}, got {}", logits.shape().str(), noise.values.shape().str());

  const Tensor normals = drawn ? tape.empty(logits.shape(), logits.dtype()) : noise.values;
  const Tensor probability =
      softmax == GateSoftmax::all ? tape.empty(logits.shape(), logits.dtype()) : Tensor();
  const Tensor g = tape.empty({s.tokens, k}, logits.dtype()), expert = tape.empty({s.tokens, k}, DType::i32);
  const auto router_noise = [=]<class T>() {
    return RouterNoise<T>{noise_logits.value().data<T>(), drawn ? nullptr : normals.data<T>(),
                          drawn ? normals.data<T>() : nullptr, noise.rng};
  };
  MOE_RUN(g, gating_forward, s, logits.value().data<T>(), router_noise.template operator()<T>(), g.data<T>(),
          expert.data<int32_t>(), probability.data<T>());
  const GradSlot dlogits = logits.grad(), dnoise_logits = noise_logits.grad();
  Var gates = tape.record("gating", g, {logits, noise_logits}, [=](const Tensor& dg) {
    MOE_RUN(dg, gating_backward, s, router_noise.template operator()<T>(), g.data<T>(),
            expert.data<int32_t>(), probability.data<T>(), dg.data<T>(), dlogits.accumulate().data<T>(),
            dnoise_logits.accumulate().data<T>());
  });
  return {std::move(gates), expert};
}

}  // namespace

Gating topk_gating(Tape& tape, const Var& logits, int64_t k, GateSoftmax softmax) {
  return gate(tape, logits, {}, {}, k, softmax);
}

Gating noisy_topk_gating(Tape& tape, const Var& logits, const Var& noise_logits, const Noise& noise,
                         int64_t k, GateSoftmax softmax) {
  require(noise_logits.defined(), "gating: the noisy router needs noise_logits");
  return gate(tape, logits, noise_logits, noise, k, softmax);
}

}  // namespace moe
