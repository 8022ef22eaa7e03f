#include "kernels/combine/combine.h"

#include "autograd/dispatch.h"
#include "autograd/fused.h"
#include "autograd/ops.h"

namespace moe {
namespace {

Var record_combine(Tape& tape, const Var& x, const Var& rows, const Var& gate, const DispatchPlan& plan,
                   const kernels::CombineShape& s) {
  require(rows.shape().rank() == 2 && rows.size(0) == plan.rows(), "combine: rows must be [{}, C], got {}",
          plan.rows(), rows.shape());
  require(gate.shape() == plan.row.shape(), "combine: gate must be {}, got {}", plan.row.shape(),
          gate.shape());
  require(!x.defined() || x.shape() == Shape{s.tokens, s.dim}, "combine: x must be [{}, {}], got {}",
          s.tokens, s.dim, x.shape());
  if (x.grad().same(rows.grad())) return record_combine(tape, tape.apart(x), rows, gate, plan, s);
  const Tensor y = tape.empty({s.tokens, s.dim}, rows.dtype());
  MOE_RUN(y, combine_forward, s, x.value().data<T>(), rows.value().data<T>(), gate.value().data<T>(),
          plan.row.data<int32_t>(), y.data<T>());
  return tape.record(
      "combine", y, {x, rows, gate}, [s, rows, gate, row = plan.row, x_grad = x.grad()](const Tensor& dy) {
        const GradSlot::Target dx = x_grad.target();
        const Tensor drows = rows.grad().accumulate(), dgate = gate.grad().accumulate();
        MOE_RUN(dy, combine_backward, s, rows.value().data<T>(), gate.value().data<T>(), row.data<int32_t>(),
                dy.data<T>(), dx.into<T>(), drows.data<T>(), dgate.data<T>());
      });
}

}  // namespace

Var combine(Tape& tape, const Var& rows, const Var& gate, const DispatchPlan& plan) {
  return record_combine(tape, {}, rows, gate, plan, {plan.tokens, plan.topk, rows.size(1), {}, {}});
}

Var add_combine(Tape& tape, const Var& x, const Var& rows, const Var& gate, const DispatchPlan& plan,
                double p, const RngAddress& rng) {
  return record_combine(tape, x, rows, gate, plan,
                        {plan.tokens, plan.topk, rows.size(1), detail::drop_rule(tape, "combine", p), rng});
}

}  // namespace moe
