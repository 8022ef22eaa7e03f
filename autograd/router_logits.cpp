#include "kernels/router_logits/router_logits.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {
namespace {

void check(const Var& x, const Var& weight, const Var& bias, const Shape& shape, const char* which) {
  require(weight.shape() == shape, "router_logits: {}weight must be {}, got {}", which, shape,
          weight.shape());
  require(bias.shape() == Shape{shape[0]}, "router_logits: {}bias must be [{}], got {}", which, shape[0],
          bias.shape());
  require(weight.dtype() == x.dtype(), "router_logits: {}weight must be {}, got {}", which,
          name_of(x.dtype()), name_of(weight.dtype()));
}

}  // namespace

RouterLogits router_logits(Tape& tape, const Var& x, const Var& weight, const Var& bias,
                           const Var& noise_weight, const Var& noise_bias) {
  require(x.shape().rank() == 2, "router_logits: x must be [N, C], got {}", x.shape());
  require(weight.shape().rank() == 2, "router_logits: weight must be [E, {}], got {}", x.size(1),
          weight.shape());
  const bool noisy = noise_weight.defined();
  const kernels::RouterLogitsShape s{
      .tokens = x.size(0), .dim = x.size(1), .experts = weight.size(0), .count = noisy ? 2 : 1};
  check(x, weight, bias, {s.experts, s.dim}, "");
  if (noisy) check(x, noise_weight, noise_bias, {s.experts, s.dim}, "noise ");
  const auto again = [&](const Var& w, const Var& b, const Var& nw, const Var& nb) {
    return router_logits(tape, x, w, b, nw, nb);
  };
  if (weight.grad().same(x.grad())) return again(tape.apart(weight), bias, noise_weight, noise_bias);
  if (noise_weight.grad().same(x.grad()) || noise_weight.grad().same(weight.grad()))
    return again(weight, bias, tape.apart(noise_weight), noise_bias);
  if (noise_bias.grad().same(bias.grad())) return again(weight, bias, noise_weight, tape.apart(noise_bias));
  const Tensor logits = tape.empty({s.tokens, s.experts}, x.dtype());
  const Tensor noise_logits = noisy ? tape.empty(logits.shape(), x.dtype()) : Tensor();
  const auto weights = [=]<class T>() {
    return kernels::RouterWeights<T>{{weight.value().data<T>(), noise_weight.value().data<T>()},
                                     {bias.value().data<T>(), noise_bias.value().data<T>()}};
  };
  MOE_RUN(logits, router_logits_forward, s, x.value().data<T>(), weights.template operator()<T>(),
          logits.data<T>(), noise_logits.data<T>());
  const auto backward = [=, x = x.saved(), x_grad = x.grad()](std::span<const Tensor> d) {
    const Tensor second = d.size() > 1 ? d[1] : Tensor();
    const Tensor dx = x_grad.accumulate(), dweight = weight.grad().accumulate(),
                 dbias = bias.grad().accumulate(), dnoise_weight = noise_weight.grad().accumulate(),
                 dnoise_bias = noise_bias.grad().accumulate();
    const auto gradients = [&]<class T>() {
      return kernels::RouterGradients<T>{{d[0].data<T>(), second.data<T>()},
                                         dx.data<T>(),
                                         {dweight.data<T>(), dnoise_weight.data<T>()},
                                         {dbias.data<T>(), dnoise_bias.data<T>()}};
    };
    MOE_RUN(x.value(), router_logits_backward, s, x.value().data<T>(), weights.template operator()<T>(),
            gradients.template operator()<T>());
  };
  if (!noisy) return {tape.record_all("router_logits", {logits}, {x, weight, bias}, backward)[0], {}};
  const std::vector<Var> results = tape.record_all("router_logits", {logits, noise_logits},
                                                   {x, weight, bias, noise_weight, noise_bias}, backward);
  return {results[0], results[1]};
}

}  // namespace moe
