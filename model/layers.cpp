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
  const Var y = proj(tape, attention(tape, qkv(tape, x), options));
  return dropout(tape, y, c.dropout, pass.rng(Draw::projection_dropout));
}

RouterOutput Router::operator()(Tape& tape, const Var& x, const PassContext& pass) const {
  const ModelConfig& c = pass.config;
  RouterOutput out;
  out.logits = logits(tape, x);
  if (c.draws_noise(tape.mode())) {
    out.noise_logits = noise(tape, x);
    out.noise = {pass.noise, pass.rng(Draw::router_noise)};
    out.gating = noisy_topk_gating(tape, out.logits, out.noise_logits, out.noise, c.top_k, c.gate());
  } else {
    out.gating = topk_gating(tape, out.logits, c.top_k, c.gate());
  }
  return out;
}

Var Experts::operator()(Tape& tape, const Var& rows, const DispatchPlan& plan,
                        const PassContext& pass) const {
  const bool rectified = pass.config.activation == Activation::relu;
  const Var h = grouped_linear(tape, rows, Var::parameter(up_weight), Var::parameter(up_bias), plan,
                               rectified ? Epilogue::relu : Epilogue::none);
  const Var a = rectified ? h : silu(tape, h);
  const Var y = grouped_linear(tape, a, Var::parameter(down_weight), Var::parameter(down_bias), plan);
  return dropout(tape, y, pass.config.dropout, pass.rng(Draw::expert_dropout));
}

Var MoeLayer::operator()(Tape& tape, const Var& x, const PassContext& pass, LayerRouting& routing) const {
  const ModelConfig& c = pass.config;
  routing.router = router(tape, x, pass);
  const Gating& gating = routing.router.gating;
  routing.plan = dispatch_plan(tape, gating.expert, c.num_experts, c.capacity(x.size(0), tape.mode()));
  const Var rows = gather(tape, x, routing.plan);
  return combine(tape, experts(tape, rows, routing.plan, pass), gating.gate, routing.plan);
}

}  // namespace moe
