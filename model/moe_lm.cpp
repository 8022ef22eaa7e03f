#include "model/moe_lm.h"

#include <cmath>

#include "autograd/dispatch.h"
#include "core/parallel.h"
#include "kernels/embedding/embedding.h"
#include "model/streams.h"

namespace moe {
namespace {

template <class T, class Value>
void fill(const Tensor& t, Value value) {
  T* p = t.data<T>();
  // Draws come in blocks of four, see random_block.
  parallel_ranges((t.numel() + 3) / 4, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      double v[4];
      value(static_cast<uint64_t>(block), v);
      for (int64_t i = 4 * block; i < std::min(4 * block + 4, t.numel()); ++i)
        p[i] = static_cast<T>(v[i & 3]);
    }
  });
}

template <class Value>
void fill_blocks(const Tensor& t, Value value) {
  write_from_host(t, [&](const Tensor& host) {
    if (host.dtype() == DType::f64)
      fill<double>(host, value);
    else
      fill<float>(host, value);
  });
}

void fill_constant(const Tensor& t, double c) {
  fill_blocks(t, [=](uint64_t, double* v) { v[0] = v[1] = v[2] = v[3] = c; });
}

void fill_normal(const Tensor& t, double deviation, const RngAddress& rng) {
  fill_blocks(t, [=](uint64_t block, double* v) {
    const Philox4 u = random_block(rng, block);
    to_normals(u.v[0], u.v[1], v[0], v[1]);
    to_normals(u.v[2], u.v[3], v[2], v[3]);
    for (int i = 0; i < 4; ++i) v[i] *= deviation;
  });
}

void fill_uniform(const Tensor& t, double bound, const RngAddress& rng) {
  fill_blocks(t, [=](uint64_t block, double* v) {
    const Philox4 u = random_block(rng, block);
    for (int i = 0; i < 4; ++i) v[i] = bound * (2.0 * to_uniform(u.v[i]) - 1.0);
  });
}

}  // namespace

KvCache::KvCache(const ModelConfig& c, int64_t batch, DType dtype, Device device) {
  for (int64_t l = 0; l < c.n_layer; ++l)
    layers.push_back(Tensor::empty({batch, c.block_size, 3 * c.n_embed}, dtype, device));
}

MoeLm::MoeLm(const ModelConfig& config, DType dtype, Device device, bool gradients)
    : config_(config), dtype_(dtype), device_(device), gradients_(gradients) {
  config_.validate();
  const int64_t width = config_.n_embed;
  token_embedding_ = add_parameter("token_embedding.weight", {config_.vocab_size, width}, {Kind::embedding});
  position_embedding_ =
      add_parameter("position_embedding.weight", {config_.block_size, width}, {Kind::embedding});
  for (int64_t l = 0; l < config_.n_layer; ++l) {
    const std::string name = "blocks." + std::to_string(l);
    Layer layer;
    layer.ln1 = add_layer_norm(name + ".ln1");
    layer.attention.qkv.weight = add_parameter(name + ".attn.qkv.weight", {3 * width, width},
                                               {Kind::weight, width, config_.head_dim()});
    layer.attention.proj = add_linear(name + ".attn.proj", width, width, Kind::residual_weight);
    layer.ln2 = add_layer_norm(name + ".ln2");
    layer.moe = add_moe(name + ".moe", l);
    layers_.push_back(std::move(layer));
  }
  ln_f_ = add_layer_norm("ln_f");
  lm_head_ = add_linear("lm_head", width, config_.vocab_size);
}

Parameter MoeLm::add_parameter(const std::string& name, const Shape& shape, Draws draws,
                               int64_t expert_layer) {
  parameters_.push_back(Parameter::create(name, shape, dtype_, device_, gradients_));
  draws_.push_back(draws);
  expert_layer_.push_back(expert_layer);
  return parameters_.back();
}

Linear MoeLm::add_linear(const std::string& name, int64_t in, int64_t out, Kind kind) {
  return {add_parameter(name + ".weight", {out, in}, {kind, in, out}),
          add_parameter(name + ".bias", {out}, {Kind::bias, in, out})};
}

LayerNorm MoeLm::add_layer_norm(const std::string& name) {
  return {add_parameter(name + ".weight", {config_.n_embed}, {Kind::gain}),
          add_parameter(name + ".bias", {config_.n_embed}, {Kind::shift})};
}

MoeLayer MoeLm::add_moe(const std::string& name, int64_t layer) {
  const int64_t experts = config_.num_experts, width = config_.n_embed, hidden = config_.hidden();
  MoeLayer moe;
  moe.router.logits = add_linear(name + ".router", width, experts);
  if (config_.router == RouterKind::noisy_topk)
    moe.router.noise = add_linear(name + ".noise", width, experts);
  const std::string up = name + ".experts.up", down = name + ".experts.down";
  moe.experts.up_weight =
      add_parameter(up + ".weight", {experts, hidden, width}, {Kind::weight, width, hidden}, layer);
  moe.experts.up_bias = add_parameter(up + ".bias", {experts, hidden}, {Kind::bias, width, hidden}, layer);
  moe.experts.down_weight = add_parameter(down + ".weight", {experts, width, hidden},
                                          {Kind::residual_weight, hidden, width}, layer);
  moe.experts.down_bias = add_parameter(down + ".bias", {experts, width}, {Kind::bias, hidden, width}, layer);
  return moe;
}

// Kaiming: He et al. 2015, gain sqrt(2), fan-in. Xavier: Glorot and Bengio 2010. Both with the biases and
// embeddings of the reference, U(+-1/sqrt(fan_in)) and N(0, 1). GPT-2: Radford et al. 2019, N(0, 0.02), the
// weights that feed the residual stream divided by sqrt(2 * layers), biases 0.
void MoeLm::initialise(uint64_t seed) const {
  const bool gpt2 = config_.init == Init::gpt2;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& value = parameters_[i].value;
    const RngAddress rng = rng_address(seed, 0, Draw::initial_weights, static_cast<int64_t>(i));
    const auto in = static_cast<double>(draws_[i].fan_in), out = static_cast<double>(draws_[i].fan_out);
    double deviation = config_.init == Init::kaiming ? std::sqrt(2.0 / in) : std::sqrt(2.0 / (in + out));
    if (gpt2) deviation = 0.02;
    switch (draws_[i].kind) {
      case Kind::gain:
        fill_constant(value, 1);
        break;
      case Kind::shift:
        fill_constant(value, 0);
        break;
      case Kind::bias:
        fill_uniform(value, gpt2 ? 0 : 1 / std::sqrt(in), rng);
        break;
      case Kind::embedding:
        fill_normal(value, gpt2 ? deviation : 1, rng);
        break;
      case Kind::residual_weight:
        if (gpt2) deviation /= std::sqrt(2.0 * static_cast<double>(config_.n_layer));
        [[fallthrough]];
      case Kind::weight:
        fill_normal(value, deviation, rng);
        break;
    }
  }
}

void MoeLm::pack_weights() const {
  require(!gradients_, "pack_weights: this model is for training");
  for (const Layer& layer : layers_)
    for (const Parameter* weight : {&layer.attention.qkv.weight, &layer.attention.proj.weight,
                                    &layer.moe.experts.up_weight, &layer.moe.experts.down_weight})
      moe::pack_weights(weight->value);
}

Var MoeLm::embed(Tape& tape, const Tensor& tokens, int64_t past) const {
  const int64_t rows = tokens.numel(), length = tokens.size(1);
  const Tensor positions = tape.empty({rows}, DType::i32);
  MOE_RUN(positions, position_ids, rows, length, past, positions.data<int32_t>());
  return add(tape, embedding(tape, Var::parameter(token_embedding_), tokens.reshape({rows})),
             embedding(tape, Var::parameter(position_embedding_), positions));
}

LmOutput MoeLm::forward(Tape& tape, const Tensor& tokens, const ForwardOptions& options) const {
  require(tokens.shape().rank() == 2, "forward: tokens must be [B, T], got {}", tokens.shape());
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const int64_t past = options.cache ? options.cache->length : 0;
  require(length > 0 && past + length <= config_.block_size,
          "forward: {} tokens behind {} cached ones do not fit into a block of {}", length, past,
          config_.block_size);
  require(tape.mode() == Mode::infer || (!options.cache && !options.last_only),
          "forward: cache and last_only are for inference");
  require(!options.last_only || batch == 1, "forward: last_only wants a batch of 1, got {}", batch);
  require(options.noise.empty() || static_cast<int64_t>(options.noise.size()) == config_.n_layer,
          "forward: noise of {} layers for a model of {}", options.noise.size(), config_.n_layer);

  LmOutput out;
  out.routing.resize(layers_.size());
  Var x = embed(tape, tokens, past);
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    PassContext pass{config_};
    pass.batch = batch;
    pass.draws = {options.seed, static_cast<uint32_t>(options.step), 0, options.moment};
    pass.layer = static_cast<int64_t>(l);
    pass.past = past;
    if (!options.noise.empty()) pass.noise = options.noise[l];
    if (options.cache) pass.cache = options.cache->layers[l];
    pass.last_only = options.last_only && l + 1 == layers_.size();
    const Var attended = layer.attention(tape, layer.ln1(tape, x), pass);
    if (pass.last_only) x = Var::constant(x.value().rows(length - 1, length), "inference");
    const RngAddress rng = pass.rng(Draw::projection_dropout);
    const auto [sum, norm] = layer.ln2.of_sum(tape, x, attended, config_.dropout, rng);
    x = layer.moe(tape, sum, norm, pass, out.routing[l]);
  }
  if (options.cache) options.cache->length += length;
  out.logits = lm_head_(tape, ln_f_(tape, x));
  return out;
}

}  // namespace moe
