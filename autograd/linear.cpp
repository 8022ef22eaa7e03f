#include "kernels/linear/linear.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"
#include "kernels/gemm/gemm.h"

namespace moe {

Var linear(Tape& tape, const Var& x, const Var& weight, const Var& bias) {
  require(x.shape().rank() == 2, "linear: x must be [N, K], got {}", x.shape());
  require(weight.shape().rank() == 2 && weight.size(1) == x.size(1), "linear: weight must be [M, {}], got {}",
          x.size(1), weight.shape());
  const kernels::LinearShape s{
      .rows = x.size(0), .in = x.size(1), .out = weight.size(0), .packed = weight.value().packed()};
  require(!bias.defined() || bias.shape() == Shape{s.out}, "linear: bias must be [{}], got {}", s.out,
          bias.shape());
  if (weight.grad().same(x.grad())) return linear(tape, x, tape.apart(weight), bias);
  const Tensor y = tape.empty({s.rows, s.out}, x.dtype());
  MOE_RUN(y, linear_forward, s, x.value().data<T>(), weight.value().packed_data<T>(), bias.value().data<T>(),
          y.data<T>());
  const auto backward = [=, x = x.saved(), x_grad = x.grad(), bias_grad = bias.grad()](const Tensor& dy) {
    const GradSlot::Target dx = x_grad.target(), dweight = weight.grad().target();
    const Tensor dbias = bias_grad.accumulate();
    const Tensor& input = x.value();
    MOE_RUN(dy, linear_backward, s, input.data<T>(), weight.value().data<T>(), dy.data<T>(), dx.into<T>(),
            dweight.into<T>(), dbias.data<T>(), dweight.squares);
  };
  return tape.record("linear", y, {x, weight, bias}, backward);
}

void pack_weights(const Tensor& weight) {
  const int rank = weight.shape().rank();
  require(rank == 2 || rank == 3, "pack_weights: weight must be [M, K] or [E, M, K], got {}", weight.shape());
  const int64_t out = weight.size(rank - 2), in = weight.size(rank - 1);
  if (weight.device() != Device::cpu || out % kernels::cpu::kSliverColumns != 0 || weight.packed()) return;
  const int64_t columns = rank == 3 ? weight.size(0) * out : out;
  if (weight.dtype() == DType::f64)
    kernels::cpu::pack_columns(columns, in, weight.data<double>());
  else
    kernels::cpu::pack_columns(columns, in, weight.data<float>());
  weight.set_packed();
}

}  // namespace moe
