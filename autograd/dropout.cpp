#include "kernels/dropout/dropout.h"

#include "autograd/dispatch.h"
#include "autograd/fused.h"
#include "autograd/ops.h"

namespace moe {

Var dropout(Tape& tape, const Var& x, double p, const RngAddress& rng) {
  const kernels::DropRule rule = detail::drop_rule(tape, "dropout", p);
  if (!rule.drops()) return x;
  const int64_t n = x.value().numel();
  const Tensor y = tape.empty(x.shape(), x.dtype());
  MOE_RUN(y, dropout_forward, n, rule, rng, x.value().data<T>(), y.data<T>());
  return tape.record("dropout", y, {x}, [n, rule, rng, x_grad = x.grad()](const Tensor& dy) {
    const Tensor dx = x_grad.accumulate();
    MOE_RUN(dy, dropout_backward, n, rule, rng, dy.data<T>(), dx.data<T>());
  });
}

}  // namespace moe
