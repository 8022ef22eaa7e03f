#pragma once
// Pointwise operations. One of your own is a struct with a name, a value and a derivative:
// see kernels/pointwise/pointwise.h for the three that the model uses and docs/first-model.md for a new one.

#include "autograd/dispatch.h"
#include "autograd/tape.h"
#include "kernels/pointwise/pointwise.h"

namespace moe {

// y = F(x) of any shape.
template <class F>
Var pointwise(Tape& tape, const Var& x) {
  const int64_t n = x.value().numel();
  Tensor y = tape.empty(x.shape(), x.dtype());
  MOE_RUN(y, pointwise_forward, F{}, n, x.value().data<T>(), y.data<T>());
  return tape.record(F::name, y, {x}, [=](const Tensor& dy) {
    const Tensor dx = x.grad().accumulate();
    MOE_RUN(dy, pointwise_backward, F{}, n, x.value().data<T>(), dy.data<T>(), dx.data<T>());
  });
}

inline Var relu(Tape& tape, const Var& x) {
  return pointwise<kernels::Relu>(tape, x);
}
inline Var silu(Tape& tape, const Var& x) {
  return pointwise<kernels::Silu>(tape, x);
}
inline Var softplus(Tape& tape, const Var& x) {
  return pointwise<kernels::Softplus>(tape, x);
}

}  // namespace moe
