#include "kernels/add_layer_norm/add_layer_norm.h"

#include "autograd/dispatch.h"
#include "autograd/fused.h"
#include "autograd/ops.h"

namespace moe {

SumAndNorm add_layer_norm(Tape& tape, const Var& x, const Var& y, const Var& gain, const Var& bias, double p,
                          const RngAddress& rng, double eps) {
  require(x.shape().rank() == 2, "add_layer_norm: x must be [N, C], got {}", x.shape());
  require(y.shape() == x.shape(), "add_layer_norm: y must be {}, got {}", x.shape(), y.shape());
  const kernels::LayerNormShape s{.rows = x.size(0), .dim = x.size(1)};
  require(gain.shape() == Shape{s.dim}, "add_layer_norm: gain must be [{}], got {}", s.dim, gain.shape());
  require(bias.shape() == Shape{s.dim}, "add_layer_norm: bias must be [{}], got {}", s.dim, bias.shape());
  if (y.grad().same(x.grad())) return add_layer_norm(tape, x, tape.apart(y), gain, bias, p, rng, eps);
  if (bias.grad().same(gain.grad())) return add_layer_norm(tape, x, y, gain, tape.apart(bias), p, rng, eps);
  const kernels::DropRule rule = detail::drop_rule(tape, "add_layer_norm", p);
  const Tensor sum = tape.empty(x.shape(), x.dtype()), out = tape.empty(x.shape(), x.dtype());
  const Tensor mean = tape.empty({s.rows}, x.dtype()), rstd = tape.empty({s.rows}, x.dtype());
  MOE_RUN(sum, add_layer_norm_forward, s, eps, rule, rng, x.value().data<T>(), y.value().data<T>(),
          gain.value().data<T>(), bias.value().data<T>(), sum.data<T>(), out.data<T>(), mean.data<T>(),
          rstd.data<T>());
  std::vector<Var> results = tape.record_all(
      "add_layer_norm", {sum, out}, {x, y, gain, bias},
      [=, &tape, x_grad = x.grad(), y_grad = y.grad(), bias_grad = bias.grad()](std::span<const Tensor> d) {
        const Tensor dout = detail::or_zeros(tape, d[1], sum);
        const GradSlot::Target dx = x_grad.target(), dy = y_grad.target();
        const Tensor dgain = gain.grad().accumulate(), dbias = bias_grad.accumulate();
        MOE_RUN(dout, add_layer_norm_backward, s, rule, rng, sum.data<T>(), gain.value().data<T>(),
                mean.data<T>(), rstd.data<T>(), d[0].data<T>(), dout.data<T>(), dx.into<T>(), dy.into<T>(),
                dgain.data<T>(), dbias.data<T>());
      });
  detail::recompute_norm(tape, results[1], eps, sum, gain.value(), bias.value(), mean, rstd);
  return {results[0], results[1]};
}

}  // namespace moe
