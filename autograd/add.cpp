#include "kernels/add/add.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var add(Tape& tape, const Var& a, const Var& b) {
  require(b.shape() == a.shape(), "add: b must be {}, got {}", a.shape(), b.shape());
  const int64_t n = a.value().numel();
  const Tensor y = tape.empty(a.shape(), a.dtype());
  MOE_RUN(y, add_forward, n, a.value().data<T>(), b.value().data<T>(), y.data<T>());
  return tape.record("add", y, {a, b}, [n, a_grad = a.grad(), b_grad = b.grad()](const Tensor& dy) {
    const Tensor da = a_grad.accumulate(), db = b_grad.accumulate();
    MOE_RUN(dy, add_backward, n, dy.data<T>(), da.data<T>(), db.data<T>());
  });
}

}  // namespace moe
