#pragma once
// The language model: one definition for training, evaluation and generation.
//
//   x = token_embedding[token] + position_embedding[position]
//   for each layer:  x += attention(ln1(x));  x += moe(ln2(x))
//   logits = lm_head(ln_f(x))

#include <string>
#include <vector>

#include "model/layers.h"

namespace moe {

// The keys and values of the positions a sequence has been through, for token-by-token inference.
struct KvCache {
  // batch sequences of up to config.block_size positions.
  KvCache(const ModelConfig&, int64_t batch, DType = DType::f32, Device = Device::cpu);

  std::vector<Tensor> layers;  // [batch, block_size, 3C] each
  int64_t length = 0;          // positions held
};

struct ForwardOptions {
  uint64_t seed = 0;  // of dropout and router noise, at `step`
  int64_t step = 0;
  const RngMoment* moment = nullptr;  // on the GPU: where both lie instead, see RngAddress::at
  std::span<const Tensor> noise;      // recorded router noise, [N, E] a layer; empty: drawn
  // Inference only: the tokens continue what the cache holds, and are added to it.
  KvCache* cache = nullptr;
  // Inference of a batch of one: logits of the last position only, [1, V].
  bool last_only = false;
};

struct LmOutput {
  Var logits;  // [B*T, V]
  std::vector<LayerRouting> routing;
};

class MoeLm {
 public:
  // Parameters are uninitialised. Without gradients the model can only infer.
  // Throws ErrorKind::usage for a configuration that makes no model.
  explicit MoeLm(const ModelConfig&, DType = DType::f32, Device = Device::cpu, bool gradients = true);

  const ModelConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  // In a fixed order, under the names of the checkpoint.
  std::span<const Parameter> parameters() const { return parameters_; }
  // The layer whose experts are stacked in parameter i, or -1.
  int64_t expert_layer(size_t i) const { return expert_layer_[i]; }

  // Draws all weights as config().init says; a pure function of the seed.
  void initialise(uint64_t seed) const;

  // Rearranges the weights of most products (moe::pack_weights) so that inference of few tokens is faster, to
  // the same bits. Of these parameters the values cannot be read any more. For models without gradients.
  void pack_weights() const;

  // tokens: i32 [B, T], T at most block_size (together with what the cache holds).
  LmOutput forward(Tape&, const Tensor& tokens, const ForwardOptions&) const;

 private:
  struct Layer {
    LayerNorm ln1;
    Attention attention;
    LayerNorm ln2;
    MoeLayer moe;
  };
  enum class Kind { weight, residual_weight, bias, embedding, gain, shift };
  struct Draws {  // how a parameter is initialised; fans as in the reference, whose heads are separate layers
    Kind kind;
    int64_t fan_in = 1, fan_out = 1;
  };

  Parameter add_parameter(const std::string& name, const Shape&, Draws, int64_t expert_layer = -1);
  Linear add_linear(const std::string& name, int64_t in, int64_t out, Kind = Kind::weight);
  LayerNorm add_layer_norm(const std::string& name);
  MoeLayer add_moe(const std::string& name, int64_t layer);
  Var embed(Tape&, const Tensor& tokens, int64_t past) const;

  ModelConfig config_;
  DType dtype_;
  Device device_;
  bool gradients_;
  std::vector<Parameter> parameters_;
  std::vector<Draws> draws_;
  std::vector<int64_t> expert_layer_;

  Parameter token_embedding_, position_embedding_;
  std::vector<Layer> layers_;
  LayerNorm ln_f_;
  Linear lm_head_;
};

}  // namespace moe
