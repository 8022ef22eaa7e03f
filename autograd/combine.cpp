#include "kernels/combine/combine.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var combine(Tape& tape, const Var& rows, const Var& gate, const DispatchPlan& plan) {
  require(rows.shape().rank() == 2 && rows.size(0) == plan.rows(), "combine: rows must be [{}, C], got {}",
          plan.rows(), rows.shape().str());
  require(gate.shape() == plan.row.shape(), "combine: gate must be {}, got {}", plan.row.shape().str(),
          gate.shape().str());
  const kernels::CombineShape s{plan.tokens, plan.topk, rows.size(1)};
  const Tensor y = tape.empty({s.tokens, s.dim}, rows.dtype());
  MOE_RUN(y, combine_forward, s, rows.value().data<T>(), gate.value().data<T>(), plan.row.data<int32_t>(),
          y.data<T>());
  return tape.record("combine", y, {rows, gate}, [s, rows, gate, row = plan.row](const Tensor& dy) {
    const Tensor drows = rows.grad().accumulate(), dgate = gate.grad().accumulate();
    MOE_RUN(dy, combine_backward, s, rows.value().data<T>(), gate.value().data<T>(), row.data<int32_t>(),
            dy.data<T>(), drows.data<T>(), dgate.data<T>());
  });
}

}  // namespace moe
