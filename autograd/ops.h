#pragma once
// The table of contents: every operation of the library.
// N tokens (B sequences of T), C channels, V symbols, E experts, k of them chosen, R = N*k rows.
// Float tensors are f32 or f64, all of one type; ids and counts are i32. Shapes that do not fit throw an
// Error that names the operation, the tensor, what was wanted and what came.

#include <span>

#include "autograd/pointwise.h"  // relu, silu, softplus, and pointwise<F> for one of your own
#include "autograd/tape.h"
#include "core/philox.h"
#include "kernels/grouped_linear/epilogue.h"

namespace moe {

// y = a + b, equal shapes.
Var add(Tape&, const Var& a, const Var& b);
// y[..., c] = x[..., c] + bias[c]
Var add_bias(Tape&, const Var& x, const Var& bias);
// y = factor * x
Var scale(Tape&, const Var& x, double factor);

// y [N, M] = x [N, K] weight [M, K]^T + bias [M]; bias may be undefined.
Var linear(Tape&, const Var& x, const Var& weight, const Var& bias = {});

// Rearranges a weight of linear [M, K] or grouped_linear [E, M, K] in place so that their products with few
// rows read it as it lies, to the same results bit by bit. Afterwards it is for these two in inference alone:
// Tensor::data throws. Does nothing on other devices than the CPU, and where M is no multiple of 32.
void pack_weights(const Tensor& weight);

// y [N, C] = table [V, C] at rows ids [N]
Var embedding(Tape&, const Var& table, const Tensor& ids);

// y [N, C] = (x - mean) / sqrt(variance + eps) * gain [C] + bias [C], population variance over C.
Var layer_norm(Tape&, const Var& x, const Var& gain, const Var& bias, double eps = 1e-5);

struct SumAndNorm {
  Var sum, norm;
};
// sum = x + dropout(y) as below, norm = layer_norm(sum): a residual branch joins, the next one begins.
SumAndNorm add_layer_norm(Tape&, const Var& x, const Var& y, const Var& gain, const Var& bias, double p,
                          const RngAddress& rng, double eps = 1e-5);

// y = x with each element zeroed with probability p and the others divided by 1 - p.
// The identity when the tape infers or p is 0. Element i takes draw i of `rng`.
Var dropout(Tape&, const Var& x, double p, const RngAddress& rng);

struct AttentionOptions {
  int64_t batch = 1, heads = 1;
  double scale = 1;  // of the scores q.k
  double dropout =
      0;  // on the weights, in training only; row (b, h, i), key j takes draw ((b*heads + h)*T + i)*T + j
  RngAddress rng;
  // Inference only. cache [batch, capacity, 3C] holds the qkv rows of positions 0..past-1 of each sequence;
  // the rows of this call are appended behind them and attend to all.
  Tensor cache;
  int64_t past = 0;
  // Inference only. When > 0, only the last `queries` positions of each sequence get an output.
  int64_t queries = 0;
};
// Causal softmax attention. qkv [B*T, 3C]: queries, keys, values side by side, head h in columns h*D..(h+1)*D
// of each third, D = C / heads. Returns [B*T, C] (or [B*queries, C]). Keeps one number per row and head for
// backward, never the weights.
Var attention(Tape&, const Var& qkv, const AttentionOptions&);

// The mean over N of -log softmax(logits [N, V])[targets [N]], shape [1].
Var cross_entropy(Tape&, const Var& logits, const Tensor& targets);

// --- Mixture of experts: router_logits, gating, dispatch_plan, gathered_linear, grouped_linear, add_combine

struct RouterLogits {
  Var logits, noise_logits;  // [N, E]; the second undefined without noise_weight
};
// x [N, C] weight [E, C]^T + bias [E] and x noise_weight^T + noise_bias, in f32 on a GPU whatever the
// precision of its other products. noise_weight and noise_bias may be undefined.
RouterLogits router_logits(Tape&, const Var& x, const Var& weight, const Var& bias,
                           const Var& noise_weight = {}, const Var& noise_bias = {});

// Standard normals for the noisy router: `values` [N, E] when defined (a recorded run), else draws of `rng`,
// index n*E + e.
struct Noise {
  Tensor values;
  RngAddress rng;
};

enum class GateSoftmax {
  selected,  // over the k chosen logits (Shazeer et al. 2017, eq. 3-5)
  all,       // over all E logits, the chosen ones kept as they are (Fedus et al. 2021, eq. 1-2)
};

struct Gating {
  Var gate;       // [N, k], in order of falling logit; equal logits: the lower expert first
  Tensor expert;  // i32 [N, k]
};
// Top-k of logits [N, E].
Gating topk_gating(Tape&, const Var& logits, int64_t k, GateSoftmax);
// Top-k of h = logits + normal * softplus(noise_logits), both [N, E] (Shazeer et al. 2017, eq. 4).
Gating noisy_topk_gating(Tape&, const Var& logits, const Var& noise_logits, const Noise&, int64_t k,
                         GateSoftmax);

// Which row of the expert-sorted order belongs to which assignment. Assignment a = n*k + j is token n's j-th
// expert. Rows are sorted by expert, stably by assignment; with a capacity each expert keeps its first
// `capacity` assignments.
struct DispatchPlan {
  int64_t tokens = 0, topk = 0, experts = 0;
  Tensor offsets;  // i32 [E + 1]: expert e owns rows offsets[e] .. offsets[e+1]-1; rows behind offsets[E] are
                   // unused
  Tensor assignment;  // i32 [R]: row -> assignment; -1 for unused rows
  Tensor row;         // i32 [N, k]: assignment -> row; -1: dropped
  Tensor count;       // i32 [E]: assignments per expert before capacity
  int64_t rows() const { return tokens * topk; }
};
inline constexpr int64_t kNoCapacity = -1;
DispatchPlan dispatch_plan(Tape&, const Tensor& expert, int64_t experts, int64_t capacity = kNoCapacity);

// rows [R, C]: row r is x of token assignment[r] / k; unused rows are zero.
Var gather(Tape&, const Var& x, const DispatchPlan&);
using kernels::Epilogue;  // none, relu, silu: what becomes of a product's result before it is stored
// y [R, M]: row r of expert e = x [R, K] row r times weight [E, M, K][e]^T + bias [E, M][e], then the
// epilogue; unused rows are zero.
Var grouped_linear(Tape&, const Var& x, const Var& weight, const Var& bias, const DispatchPlan&,
                   Epilogue = Epilogue::none);
// The same of gather(x [N, K]); a GPU makes no gathered copy.
Var gathered_linear(Tape&, const Var& x, const Var& weight, const Var& bias, const DispatchPlan&,
                    Epilogue = Epilogue::none);
// y [N, C] = sum over j of gate [N, k][n, j] * rows [R, C][row[n, j]], j ascending, dropped ones left out.
Var combine(Tape&, const Var& rows, const Var& gate, const DispatchPlan&);
// y [N, C] = x [N, C] + combine of dropout(rows), in one pass.
Var add_combine(Tape&, const Var& x, const Var& rows, const Var& gate, const DispatchPlan&, double p,
                const RngAddress& rng);

// --- Auxiliary losses, shape [1], unweighted. They see one layer's tokens. ---

// CV^2 of Importance_e = sum over n of the gate of expert e (Shazeer et al. 2017, eq. 6-7).
Var importance_loss(Tape&, const Gating&, int64_t experts);
// CV^2 of Load_e = sum over n of P(n, e) (Shazeer et al. 2017, eq. 8-11); the noise must be that of the
// gating.
Var load_loss(Tape&, const Var& logits, const Var& noise_logits, const Noise&, int64_t k);
// E * sum over e of f_e P_e: f the share of assignments, P the mean full softmax of logits (Fedus et al.
// 2021, eq. 4-6).
Var balance_loss(Tape&, const Var& logits, const Tensor& expert);
// Mean over n of logsumexp(logits [N, E])^2 (Zoph et al. 2022, eq. 5).
Var z_loss(Tape&, const Var& logits);

}  // namespace moe
