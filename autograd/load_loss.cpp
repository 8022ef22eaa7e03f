#include "kernels/load_loss/load_loss.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var load_loss(Tape& tape, const Var& logits, const Var& noise_logits, const Noise& noise, int64_t k) {
  require(logits.shape().rank() == 2, "load_loss: logits must be [N, E], got {}", logits.shape().str());
  require(noise_logits.shape() == logits.shape(), "load_loss: noise_logits must be {}, got {}",
          logits.shape().str(), noise_logits.shape().str());
  const kernels::GatingShape s{logits.size(0), logits.size(1), k};
  require(1 <= k && k <= s.experts, "load_loss: k must be in [1, {}], got {}", s.experts, k);
  const bool drawn = !noise.values.defined();
  const Tensor normals = drawn ? tape.empty(logits.shape(), logits.dtype()) : noise.values;
  const Tensor loss = tape.empty({1}, logits.dtype()), slope = tape.empty({s.experts}, logits.dtype());
  const auto router_noise = [=]<class T>() {
    return kernels::RouterNoise<T>{noise_logits.value().data<T>(), drawn ? nullptr : normals.data<T>(),
                                   drawn ? normals.data<T>() : nullptr, noise.rng};
  };
  MOE_RUN(loss, load_loss_forward, s, logits.value().data<T>(), router_noise.template operator()<T>(),
          loss.data<T>(), slope.data<T>());
  return tape.record("load_loss", loss, {logits, noise_logits}, [=](const Tensor& dloss) {
    MOE_RUN(dloss, load_loss_backward, s, logits.value().data<T>(), router_noise.template operator()<T>(),
            slope.data<T>(), dloss.data<T>(), logits.grad().accumulate().data<T>(),
            noise_logits.grad().accumulate().data<T>());
  });
}

}  // namespace moe
