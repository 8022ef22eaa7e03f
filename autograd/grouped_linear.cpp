#include "kernels/grouped_linear/grouped_linear.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var grouped_linear(Tape& tape, const Var& x, const Var& weight, const Var& bias, const DispatchPlan& plan,
                   Epilogue epilogue) {
  const int64_t experts = plan.experts;
  require(x.shape().rank() == 2 && x.size(0) == plan.rows(), "grouped_linear: x must be [{}, K], got {}",
          plan.rows(), x.shape().str());
  require(weight.shape().rank() == 3 && weight.size(0) == experts && weight.size(2) == x.size(1),
          "grouped_linear: weight must be [{}, M, {}], got {}", experts, x.size(1), weight.shape().str());
  const kernels::GroupedLinearShape s{.rows = x.size(0),
                                      .in = x.size(1),
                                      .out = weight.size(1),
                                      .experts = experts,
                                      .relu = epilogue == Epilogue::relu};
  require(!bias.defined() || bias.shape() == Shape{experts, s.out},
          "grouped_linear: bias must be [{}, {}], got {}", experts, s.out, bias.shape().str());
  const Tensor y = tape.empty({s.rows, s.out}, x.dtype());
  MOE_RUN(y, grouped_linear_forward, s, plan.offsets.data<int32_t>(), x.value().data<T>(),
          weight.value().data<T>(), bias.value().data<T>(), y.data<T>());
  return tape.record("grouped_linear", y, {x, weight, bias},
                     [=, &tape, offsets = plan.offsets, bias_grad = bias.grad(),
                      output = s.relu ? y : Tensor()](const Tensor& dy) {
                       const Tensor dh = s.relu ? tape.empty(dy.shape(), dy.dtype()) : Tensor();
                       const Tensor dx = x.grad().accumulate(), dweight = weight.grad().accumulate(),
                                    dbias = bias_grad.accumulate();
                       MOE_RUN(dy, grouped_linear_backward, s, offsets.data<int32_t>(), x.value().data<T>(),
                               weight.value().data<T>(), output.data<T>(), dy.data<T>(), dh.data<T>(),
                               dx.data<T>(), dweight.data<T>(), dbias.data<T>());
                     });
}

}  // namespace moe
