#include "kernels/gating/gating.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"
#include "autograd/router_noise.h"

namespace moe {
namespace {

Gating gating(Tape& tape, const Var& logits, const Var& noise_logits, const Noise& noise, int64_t k,
              GateSoftmax softmax) {
  const kernels::GatingShape s = detail::router_shape("gating", logits, noise_logits, k);
  const detail::NoiseSource source(tape, "gating", noise_logits, noise);
  const Tensor gate = tape.empty({s.tokens, k}, logits.dtype());
  const Tensor expert = tape.empty({s.tokens, k}, DType::i32);
  const Tensor probability =
      softmax == GateSoftmax::all ? tape.empty(logits.shape(), logits.dtype()) : Tensor();
  MOE_RUN(gate, gating_forward, s, logits.value().data<T>(), source.get<T>(), gate.data<T>(),
          expert.data<int32_t>(), probability.data<T>());
  const auto backward = [=, logits_grad = logits.grad(),
                         noise_grad = noise_logits.grad()](const Tensor& dgate) {
    const Tensor dlogits = logits_grad.accumulate(), dnoise_logits = noise_grad.accumulate();
    MOE_RUN(dgate, gating_backward, s, source.get<T>(), gate.data<T>(), expert.data<int32_t>(),
            probability.data<T>(), dgate.data<T>(), dlogits.data<T>(), dnoise_logits.data<T>());
  };
  return {tape.record("gating", gate, {logits, noise_logits}, backward), expert};
}

}  // namespace

Gating topk_gating(Tape& tape, const Var& logits, int64_t k, GateSoftmax softmax) {
  return gating(tape, logits, {}, {}, k, softmax);
}

Gating noisy_topk_gating(Tape& tape, const Var& logits, const Var& noise_logits, const Noise& noise,
                         int64_t k, GateSoftmax softmax) {
  require(noise_logits.defined(), "gating: the noisy router needs noise_logits");
  return gating(tape, logits, noise_logits, noise, k, softmax);
}

}  // namespace moe
