#include "kernels/linear/linear.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var linear(Tape& tape, const Var& x, const Var& weight, const Var& bias) {
  require(x.shape().rank() == 2, "linear: x must be [N, K], got {}", x.shape().str());
  require(weight.shape().rank() == 2 && weight.size(1) == x.size(1), "linear: weight must be [M, {}], got {}",
          x.size(1), weight.shape().str());
  const kernels::LinearShape s{.rows = x.size(0), .in = x.size(1), .out = weight.size(0)};
  require(!bias.defined() || bias.shape() == Shape{s.out}, "linear: bias must be [{}], got {}", s.out,
          bias.shape().str());
  const Tensor y = tape.empty({s.rows, s.out}, x.dtype());
  MOE_RUN(y, linear_forward, s, x.value().data<T>(), weight.value().data<T>(), bias.value().data<T>(),
          y.data<T>());
  return tape.record("linear", y, {x, weight, bias}, [=, bias_grad = bias.grad()](const Tensor& dy) {
    const GradSlot::Target dx = x.grad().target();
    const Tensor dweight = weight.grad().accumulate(), dbias = bias_grad.accumulate();
    MOE_RUN(dy, linear_backward, s, x.value().data<T>(), weight.value().data<T>(), dy.data<T>(), dx.into<T>(),
            dweight.data<T>(), dbias.data<T>());
  });
}

}  // namespace moe
