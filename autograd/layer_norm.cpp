#include "kernels/layer_norm/layer_norm.h"

#include "autograd/dispatch.h"
#include "autograd/fused.h"
#include "autograd/ops.h"

namespace moe {

void detail::recompute_norm(Tape& tape, Var& y, double eps, const Tensor& x, const Tensor& gain,
                            const Tensor& bias, const Tensor& mean, const Tensor& rstd) {
  const kernels::LayerNormShape s{.rows = x.size(0), .dim = x.size(1)};
  tape.recompute_in_backward(y, [=, &tape] {
    const Tensor again = tape.empty(x.shape(), x.dtype());
    MOE_RUN(again, layer_norm_forward, s, eps, x.data<T>(), gain.data<T>(), bias.data<T>(), again.data<T>(),
            mean.data<T>(), rstd.data<T>());
    return again;
  });
}

Var layer_norm(Tape& tape, const Var& x, const Var& gain, const Var& bias, double eps) {
  require(x.shape().rank() == 2, "layer_norm: x must be [N, C], got {}", x.shape());
  const kernels::LayerNormShape s{.rows = x.size(0), .dim = x.size(1)};
  require(gain.shape() == Shape{s.dim}, "layer_norm: gain must be [{}], got {}", s.dim, gain.shape());
  require(bias.shape() == Shape{s.dim}, "layer_norm: bias must be [{}], got {}", s.dim, bias.shape());
  if (bias.grad().same(gain.grad())) return layer_norm(tape, x, gain, tape.apart(bias), eps);
  const Tensor y = tape.empty(x.shape(), x.dtype());
  const Tensor mean = tape.empty({s.rows}, x.dtype()), rstd = tape.empty({s.rows}, x.dtype());
  MOE_RUN(y, layer_norm_forward, s, eps, x.value().data<T>(), gain.value().data<T>(), bias.value().data<T>(),
          y.data<T>(), mean.data<T>(), rstd.data<T>());
  Var result = tape.record("layer_norm", y, {x, gain, bias}, [=, bias_grad = bias.grad()](const Tensor& dy) {
    const GradSlot::Target dx = x.grad().target();
    const Tensor dgain = gain.grad().accumulate(), dbias = bias_grad.accumulate();
    MOE_RUN(dy, layer_norm_backward, s, x.value().data<T>(), gain.value().data<T>(), mean.data<T>(),
            rstd.data<T>(), dy.data<T>(), dx.into<T>(), dgain.data<T>(), dbias.data<T>());
  });
  detail::recompute_norm(tape, result, eps, x.value(), gain.value(), bias.value(), mean, rstd);
  return result;
}

}  // namespace moe
