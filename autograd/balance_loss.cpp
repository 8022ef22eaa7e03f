#include "kernels/balance_loss/balance_loss.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var balance_loss(Tape& tape, const Var& logits, const Tensor& expert) {
  require(logits.shape().rank() == 2 && logits.size(1) > 0, "balance_loss: logits must be [N, E], got {}",
          logits.shape());
  require(expert.shape().rank() == 2 && expert.size(0) == logits.size(0) && expert.size(1) > 0,
          "balance_loss: expert must be [{}, k], got {}", logits.size(0), expert.shape());
  const kernels::BalanceShape s{logits.size(0), expert.size(1), logits.size(1)};
  const Tensor loss = tape.empty({1}, logits.dtype()), share = tape.empty({s.experts}, logits.dtype());
  MOE_RUN(loss, balance_loss_forward, s, logits.value().data<T>(), expert.data<int32_t>(), loss.data<T>(),
          share.data<T>());
  return tape.record("balance_loss", loss, {logits}, [s, logits, share](const Tensor& dloss) {
    const Tensor dlogits = logits.grad().accumulate();
    MOE_RUN(dloss, balance_loss_backward, s, logits.value().data<T>(), share.data<T>(), dloss.data<T>(),
            dlogits.data<T>());
  });
}

}  // namespace moe
