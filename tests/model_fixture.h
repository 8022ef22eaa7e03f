#pragma once
// Small models for tests.

#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "model/losses.h"
#include "model/moe_lm.h"

namespace moe::test {

inline ModelConfig small_config() {
  ModelConfig c;
  c.vocab_size = 11;
  c.block_size = 6;
  c.n_embed = 8;
  c.n_head = 2;
  c.n_layer = 2;
  c.num_experts = 4;
  c.top_k = 2;
  c.dropout = 0;
  return c;
}

// Ids that run through the vocabulary without a simple pattern, i32 [batch, length].
inline Tensor token_batch(const ModelConfig& c, int64_t batch, int64_t length, int64_t salt = 0) {
  const Tensor t = Tensor::empty({batch, length}, DType::i32);
  int64_t i = salt;
  for (int32_t& id : t.span<int32_t>()) {
    id = static_cast<int32_t>((i * i * 7 + i * 3 + 1) % c.vocab_size);
    ++i;
  }
  return t;
}

// Logits of an inference pass on the model's device, copied out of the arena.
inline std::vector<float> infer_logits(const MoeLm& model, const Tensor& tokens,
                                       ForwardOptions options = {}) {
  const Device device = model.parameters().front().value.device();
  Arena arena(device);
  Tape tape(arena, Mode::infer);
  const LmOutput out = model.forward(tape, tokens.to(device), options);
  const Tensor logits = out.logits.value().to(Device::cpu);
  return {logits.span<float>().begin(), logits.span<float>().end()};
}

inline const Parameter& parameter(const MoeLm& model, const std::string& name) {
  for (const Parameter& p : model.parameters())
    if (p.name == name) return p;
  throw error(ErrorKind::runtime, "no parameter {}", name);
}

}  // namespace moe::test
