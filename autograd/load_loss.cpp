#include "kernels/load_loss/load_loss.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"
#include "autograd/router_noise.h"

namespace moe {

Var load_loss(Tape& tape, const Var& logits, const Var& noise_logits, const Noise& noise, int64_t k) {
  require(noise_logits.defined(), "load_loss: needs the noise_logits of a noisy router");
  const kernels::GatingShape s = detail::router_shape("load_loss", logits, noise_logits, k);
  const detail::NoiseSource source(tape, "load_loss", noise_logits, noise);
  const Tensor loss = tape.empty({1}, logits.dtype()), slope = tape.empty({s.experts}, logits.dtype());
  MOE_RUN(loss, load_loss_forward, s, logits.value().data<T>(), source.get<T>(), loss.data<T>(),
          slope.data<T>());
  return tape.record(
      "load_loss", loss, {logits, noise_logits}, [=, noise_grad = noise_logits.grad()](const Tensor& dloss) {
        const Tensor dlogits = logits.grad().accumulate(), dnoise_logits = noise_grad.accumulate();
        MOE_RUN(dloss, load_loss_backward, s, logits.value().data<T>(), source.get<T>(), slope.data<T>(),
                dloss.data<T>(), dlogits.data<T>(), dnoise_logits.data<T>());
      });
}

}  // namespace moe
