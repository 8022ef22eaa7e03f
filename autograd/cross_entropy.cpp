#include "kernels/cross_entropy/cross_entropy.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var cross_entropy(Tape& tape, const Var& logits, const Tensor& targets) {
  require(logits.shape().rank() == 2, "cross_entropy: logits must be [N, V], got {}", logits.shape());
  const kernels::CrossEntropyShape s{.rows = logits.size(0), .symbols = logits.size(1)};
  require(targets.shape() == Shape{s.rows} && targets.dtype() == DType::i32,
          "cross_entropy: targets must be i32 [{}], got {} {}", s.rows, name_of(targets.dtype()),
          targets.shape());
  require(s.rows > 0, "cross_entropy: there is no mean over 0 rows");
  const Tensor loss = tape.empty({1}, logits.dtype()), lse = tape.empty({s.rows}, logits.dtype());
  MOE_RUN(loss, cross_entropy_forward, s, logits.value().data<T>(), targets.data<int32_t>(), loss.data<T>(),
          lse.data<T>());
  return tape.record("cross_entropy", loss, {logits}, [=](const Tensor& dloss) {
    const Tensor dlogits = logits.grad().accumulate();
    MOE_RUN(dloss, cross_entropy_backward, s, logits.value().data<T>(), targets.data<int32_t>(),
            lse.data<T>(), dloss.data<T>(), dlogits.data<T>());
  });
}

}  // namespace moe
