#include "kernels/z_loss/z_loss.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var z_loss(Tape& tape, const Var& logits) {
  require(logits.shape().rank() == 2 && logits.size(1) > 0, "z_loss: logits must be [N, E], got {}",
          logits.shape());
  const int64_t tokens = logits.size(0), experts = logits.size(1);
  const Tensor loss = tape.empty({1}, logits.dtype()), lse = tape.empty({tokens}, logits.dtype());
  MOE_RUN(loss, z_loss_forward, tokens, experts, logits.value().data<T>(), loss.data<T>(), lse.data<T>());
  return tape.record("z_loss", loss, {logits}, [=](const Tensor& dloss) {
    const Tensor dlogits = logits.grad().accumulate();
    MOE_RUN(dloss, z_loss_backward, tokens, experts, logits.value().data<T>(), lse.data<T>(), dloss.data<T>(),
            dlogits.data<T>());
  });
}

}  // namespace moe
