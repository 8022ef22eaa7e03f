#pragma once
// The pieces of a layer. Each holds its parameters and applies them; none knows the model around it.

#include <span>
#include <vector>

#include "autograd/ops.h"
#include "model/config.h"
#include "model/streams.h"

namespace moe {

// What every piece needs to know of the pass it takes part in.
struct PassContext {
  const ModelConfig& config;
  int64_t batch = 1;  // sequences
  RngAddress draws;   // of dropout and router noise, but for the stream
  int64_t layer = 0;
  Tensor noise;            // [N, E]: recorded router noise for this layer; undefined: drawn
  Tensor cache;            // this layer's key/value cache (AttentionOptions::cache), inference only
  int64_t past = 0;        // positions already in the cache
  bool last_only = false;  // inference of one sequence: only its last position goes on from here

  RngAddress rng(Draw purpose) const {
    RngAddress address = draws;
    address.stream = rng_stream(purpose, layer);
    return address;
  }
};

struct Linear {
  Parameter weight;  // [out, in]
  Parameter bias;    // [out], undefined for none

  Var operator()(Tape& tape, const Var& x) const {
    return linear(tape, x, Var::parameter(weight), bias.value.defined() ? Var::parameter(bias) : Var());
  }
};

struct LayerNorm {
  Parameter weight, bias;  // [C]

  Var operator()(Tape& tape, const Var& x) const {
    return layer_norm(tape, x, Var::parameter(weight), Var::parameter(bias));
  }
  // Of x + dropout(y); that sum as well.
  SumAndNorm of_sum(Tape& tape, const Var& x, const Var& y, double p, const RngAddress& rng) const {
    return add_layer_norm(tape, x, y, Var::parameter(weight), Var::parameter(bias), p, rng);
  }
};

// Causal self-attention over x [B*T, C]. The reference scales scores by C^-0.5 with C the width of the
// stream, not of the head; so do we.
struct Attention {
  Linear qkv;  // [3C, C], no bias: rows of queries, keys, values; head h owns rows h*D..(h+1)*D of each third
  Linear proj;  // [C, C]

  // [B*T, C], or [1, C] with last_only. Before dropout.
  Var operator()(Tape&, const Var& x, const PassContext&) const;
};

struct RouterOutput {
  Var logits;        // [N, E], clean
  Var noise_logits;  // [N, E], undefined when no noise was added
  Noise noise;
  Gating gating;
};

// From hidden states to gates.
struct Router {
  Linear logits;  // [E, C]
  Linear noise;   // [E, C], undefined for the plain top-k router

  RouterOutput operator()(Tape&, const Var& x, const PassContext&) const;
};

// Every expert a two-layer network; all of a kind stacked along the first axis.
struct Experts {
  Parameter up_weight, up_bias;      // [E, 4C, C], [E, 4C]
  Parameter down_weight, down_bias;  // [E, C, 4C], [E, C]

  // x [N, C] to rows [R, C], sorted by expert. Before dropout.
  Var operator()(Tape&, const Var& x, const DispatchPlan&, const PassContext&) const;
};

// What one layer's router decided, for losses, statistics and the optimizer.
struct LayerRouting {
  RouterOutput router;
  DispatchPlan plan;
};

// router -> plan -> experts -> dropout -> combine
struct MoeLayer {
  Router router;
  Experts experts;

  // residual + the layer's result for x
  Var operator()(Tape&, const Var& residual, const Var& x, const PassContext&, LayerRouting&) const;
};

}  // namespace moe
