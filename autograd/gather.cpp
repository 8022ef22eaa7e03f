#include "kernels/gather/gather.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var gather(Tape& tape, const Var& x, const DispatchPlan& plan) {
  require(x.shape().rank() == 2 && x.size(0) == plan.tokens, "gather: x must be [{}, C], got {}", plan.tokens,
          x.shape());
  const kernels::GatherShape s{plan.tokens, plan.topk, x.size(1)};
  const Tensor rows = tape.empty({plan.rows(), s.dim}, x.dtype());
  MOE_RUN(rows, gather_forward, s, plan.assignment.data<int32_t>(), x.value().data<T>(), rows.data<T>());
  return tape.record("gather", rows, {x}, [s, row = plan.row, x_grad = x.grad()](const Tensor& drows) {
    const GradSlot::Target dx = x_grad.target();
    MOE_RUN(drows, gather_backward, s, row.data<int32_t>(), drows.data<T>(), dx.into<T>());
  });
}

}  // namespace moe
