#include "kernels/add_bias/add_bias.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var add_bias(Tape& tape, const Var& x, const Var& bias) {
  require(x.shape().rank() >= 1, "add_bias: x must have a last axis, got {}", x.shape());
  const int64_t dim = x.size(-1);
  require(bias.shape() == Shape{dim}, "add_bias: bias must be [{}], got {}", dim, bias.shape());
  const kernels::AddBiasShape s{.rows = dim ? x.value().numel() / dim : 0, .dim = dim};
  const Tensor y = tape.empty(x.shape(), x.dtype());
  MOE_RUN(y, add_bias_forward, s, x.value().data<T>(), bias.value().data<T>(), y.data<T>());
  return tape.record("add_bias", y, {x, bias},
                     [s, x_grad = x.grad(), bias_grad = bias.grad()](const Tensor& dy) {
                       const Tensor dx = x_grad.accumulate(), dbias = bias_grad.accumulate();
                       MOE_RUN(dy, add_bias_backward, s, dy.data<T>(), dx.data<T>(), dbias.data<T>());
                     });
}

}  // namespace moe
