#include "kernels/grouped_linear/grouped_linear.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {
namespace {

// Gathered: x has tokens, not rows.
Var record_grouped_linear(Tape& tape, const Var& x, const Var& weight, const Var& bias,
                          const DispatchPlan& plan, Epilogue epilogue, bool gathered) {
  const int64_t experts = plan.experts, expected = gathered ? plan.tokens : plan.rows();
  require(x.shape().rank() == 2 && x.size(0) == expected, "grouped_linear: x must be [{}, K], got {}",
          expected, x.shape());
  require(weight.shape().rank() == 3 && weight.size(0) == experts && weight.size(2) == x.size(1),
          "grouped_linear: weight must be [{}, M, {}], got {}", experts, x.size(1), weight.shape());
  const kernels::GroupedLinearShape s{.rows = plan.rows(),
                                      .in = x.size(1),
                                      .out = weight.size(1),
                                      .experts = experts,
                                      .epilogue = epilogue,
                                      .packed = weight.value().packed()};
  require(!bias.defined() || bias.shape() == Shape{experts, s.out},
          "grouped_linear: bias must be [{}, {}], got {}", experts, s.out, bias.shape());
  if (bias.grad().same(x.grad()))
    return record_grouped_linear(tape, x, weight, tape.apart(bias), plan, epilogue, gathered);
  const bool silu = epilogue == Epilogue::silu, relu = epilogue == Epilogue::relu;
  const Tensor y = tape.empty({s.rows, s.out}, x.dtype());
  const Tensor h = silu ? tape.empty(y.shape(), x.dtype()) : Tensor();
  // Forward and backward gather them anew, which takes less than keeping them. GPUs read x where it lies.
  const auto gathered_rows = [=, &tape, dtype = x.dtype()] {
    return gathered && tape.kernels_on() == Device::cpu ? tape.empty({s.rows, s.in}, dtype) : Tensor();
  };
  const auto where = [=, plan = plan] {
    return kernels::GroupedRows{.offsets = plan.offsets.data<int32_t>(),
                                .assignment = gathered ? plan.assignment.data<int32_t>() : nullptr,
                                .row = gathered ? plan.row.data<int32_t>() : nullptr,
                                .tokens = plan.tokens,
                                .topk = plan.topk};
  };
  {
    const Tensor rows = gathered_rows();
    MOE_RUN(y, grouped_linear_forward, s, where(), x.value().data<T>(), weight.value().packed_data<T>(),
            bias.value().data<T>(), rows.data<T>(), h.data<T>(), y.data<T>());
  }
  return tape.record(
      "grouped_linear", y, {x, weight, bias},
      [=, &tape, x = x.saved(), x_grad = x.grad(), kept = relu ? y : h,
       bias_grad = bias.grad()](const Tensor& dy) {
        Tensor dh;
        if (kept.defined()) dh = dy.alone() ? dy : tape.empty(dy.shape(), dy.dtype());
        const Tensor rows = gathered_rows();
        const Tensor drows = gathered && x_grad.needed() ? tape.empty({s.rows, s.in}, dy.dtype()) : Tensor();
        const GradSlot::Target dx = x_grad.target(), dweight = weight.grad().target();
        const Tensor dbias = bias_grad.accumulate();
        const Tensor& input = x.value();
        const auto gradients = [&]<class T>() {
          return kernels::GroupedGradients<T>{
              input.data<T>(), weight.value().data<T>(), kept.data<T>(),  dy.data<T>(),
              dx.into<T>(),    dweight.into<T>(),        dbias.data<T>(), dweight.gaps};
        };
        MOE_RUN(dy, grouped_linear_backward, s, where(), gradients.template operator()<T>(), rows.data<T>(),
                dh.data<T>(), drows.data<T>(), dweight.squares);
      });
}

}  // namespace

Var grouped_linear(Tape& tape, const Var& x, const Var& weight, const Var& bias, const DispatchPlan& plan,
                   Epilogue epilogue) {
  return record_grouped_linear(tape, x, weight, bias, plan, epilogue, false);
}

Var gathered_linear(Tape& tape, const Var& x, const Var& weight, const Var& bias, const DispatchPlan& plan,
                    Epilogue epilogue) {
  return record_grouped_linear(tape, x, weight, bias, plan, epilogue, true);
}

}  // namespace moe
