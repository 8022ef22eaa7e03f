#pragma once
// What operations share.

#include "autograd/tape.h"
#include "kernels/drop_rule.h"

namespace moe::detail {

// What dropout with probability p keeps: in inference all.
inline kernels::DropRule drop_rule(const Tape& tape, const char* op, double p) {
  require(p >= 0 && p < 1, "{}: p must lie in [0, 1), got {}", op, p);
  return tape.mode() == Mode::train ? kernels::DropRule(p) : kernels::DropRule();
}

// A gradient, or zeros in the shape of `like` where nothing has arrived.
inline Tensor or_zeros(Tape& tape, const Tensor& gradient, const Tensor& like) {
  if (gradient.defined()) return gradient;
  const Tensor zeros = tape.empty(like.shape(), like.dtype());
  zeros.fill_zero();
  return zeros;
}

// Lets backward compute y = layer_norm(x) again, which writes the same into mean and rstd.
void recompute_norm(Tape& tape, Var& y, double eps, const Tensor& x, const Tensor& gain, const Tensor& bias,
                    const Tensor& mean, const Tensor& rstd);

}  // namespace moe::detail
