#include "kernels/scale/scale.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var scale(Tape& tape, const Var& x, double factor) {
  const int64_t n = x.value().numel();
  const Tensor y = tape.empty(x.shape(), x.dtype());
  MOE_RUN(y, scale_forward, n, factor, x.value().data<T>(), y.data<T>());
  return tape.record("scale", y, {x}, [n, factor, x_grad = x.grad()](const Tensor& dy) {
    const Tensor dx = x_grad.accumulate();
    MOE_RUN(dy, scale_backward, n, factor, dy.data<T>(), dx.data<T>());
  });
}

}  // namespace moe
