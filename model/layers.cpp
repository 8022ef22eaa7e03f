#include "model/layers.h"

#include <cmath>

namespace moe {

Var Attention::operator()(Tape& tape, const Var& x, const PassContext& pass) const {
  const ModelConfig& c = pass.config;
  AttentionOptions options;
  options.batch = pass.batch;
  options.heads = c.n_head;
  options.scale = 1.0 / std::sqrt(static_cast<double>(c.n_embed));
  options.dropout = c.dropout;
  options.rng = pass.rng(Draw::attention_dropout);
  options.cache = pass.cache;
  options.past = pass.past;
  options.queries = pass.last_only ? 1 : 0;
  return proj(tape, attention(tape, qkv(tape, x), options));
}

RouterOutput Router::operator()(Tape& tape, const Var& x, const PassContext& pass) const {
  const ModelConfig& c = pass.config;
  const bool noisy = c.draws_noise(tape.mode());
  RouterOutput out;
  const RouterLogits projected =
      noisy ? router_logits(tape, x, Var::parameter(logits.weight), Var::parameter(logits.bias),
                            Var::parameter(noise.weight), Var::parameter(noise.bias))
            : router_logits(tape, x, Var::parameter(logits.weight), Var::parameter(logits.bias));
  out.logits = projected.logits;
  out.noise_logits = projected.noise_logits;
  if (noisy) {
    out.noise = {pass.noise, pass.rng(Draw::router_noise)};
    out.gating = noisy_topk_gating(tape, out.logits, out.noise_logits, out.noise, c.top_k, c.gate());
  } else {
    out.gating = topk_gating(tape, out.logits, c.top_k, c.gate());
  }
  return out;
}

Var Experts::operator()(Tape& tape, const Var& x, const DispatchPlan& plan, const PassContext& pass) const {
  const Epilogue activation = pass.config.activation == Activation::relu ? Epilogue::relu : Epilogue::silu;
  const Var a =
      gathered_linear(tape, x, Var::parameter(up_weight), Var::parameter(up_bias), plan, activation);
  return grouped_linear(tape, a, Var::parameter(down_weight), Var::parameter(down_bias), plan);
}

Var MoeLayer::operator()(Tape& tape, const Var& residual, const Var& x, const PassContext& pass,
                         LayerRouting& routing) const {
  const ModelConfig& c = pass.config;
  routing.router = router(tape, x, pass);
  const Gating& gating = routing.router.gating;
  routing.plan = dispatch_plan(tape, gating.expert, c.num_experts, c.capacity(x.size(0), tape.mode()));
  return add_combine(tape, residual, experts(tape, x, routing.plan, pass), gating.gate, routing.plan,
                     c.dropout, pass.rng(Draw::expert_dropout));
}

}  // namespace moe
