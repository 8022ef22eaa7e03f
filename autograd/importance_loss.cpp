#include "kernels/importance_loss/importance_loss.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var importance_loss(Tape& tape, const Gating& gating, int64_t experts) {
  const Var& gate = gating.gate;
  require(gate.shape().rank() == 2 && gate.shape() == gating.expert.shape(),
          "importance_loss: gate must be {}, got {}", gating.expert.shape(), gate.shape());
  require(experts >= 1, "importance_loss: experts must be at least 1, got {}", experts);
  const kernels::ImportanceShape s{gate.size(0), gate.size(1), experts};
  const Tensor loss = tape.empty({1}, gate.dtype()), slope = tape.empty({experts}, gate.dtype());
  MOE_RUN(loss, importance_loss_forward, s, gate.value().data<T>(), gating.expert.data<int32_t>(),
          loss.data<T>(), slope.data<T>());
  return tape.record("importance_loss", loss, {gate},
                     [s, slope, expert = gating.expert, gate_grad = gate.grad()](const Tensor& dloss) {
                       const Tensor dgate = gate_grad.accumulate();
                       MOE_RUN(dloss, importance_loss_backward, s, expert.data<int32_t>(), slope.data<T>(),
                               dloss.data<T>(), dgate.data<T>());
                     });
}

}  // namespace moe
