#pragma once
// Text, token by token.

#include <cstdint>
#include <span>
#include <vector>

#include "core/recorded_calls.h"
#include "model/moe_lm.h"
#include "model/sampler.h"
#include "model/tokenizer.h"

namespace moe {

// Continues one sequence. The model sees the last block_size tokens. Until the window is full, every token is
// one row behind the keys and values of those before it. From then on all tokens move up by one position each
// time; positions are absolute, so the window is computed anew, in the last layer for its last position only.
// A model whose noise or capacity acts in inference too (When::always) computes the whole window every time.
// All is computed on the model's device; logits come to the host, which samples.
class Generator {
 public:
  // Keeps a reference to the model. Token number i, counted from the end of the prompt, takes draw i of the
  // seed.
  Generator(const MoeLm& model, const SamplerConfig& sampler, uint64_t seed);

  // Appends tokens without sampling.
  void feed(std::span<const int32_t> tokens);
  // Samples a token and appends it. Something must have been fed before.
  int32_t next();

  // Logits of the next token. Valid until the next call of any member.
  std::span<const float> logits();
  // The expert with the largest gate that each layer sent the last token to, [n_layer]. Valid as logits() is.
  std::span<const int32_t> experts();

 private:
  void append(int32_t token);
  Tensor ids_from(int64_t begin) const;  // [1, T]: the window from there on
  LmOutput run(const Tensor& ids, KvCache* cache);
  void run_full_window();
  void take(const LmOutput&);  // the last token's logits and experts

  const MoeLm& model_;
  SamplerConfig sampler_;
  uint64_t seed_;
  bool cacheable_;               // whether a token's result is the same whatever else is in the pass
  std::vector<int32_t> window_;  // the last tokens, at most block_size
  bool slid_ = false;            // the window no longer starts where the cache does
  KvCache cache_;
  Arena arena_;
  // The pass over a window that has slid: the same kernels on the same memory for every token.
  struct {
    Tensor ids;
    LmOutput out;
    RecordedCalls calls;
  } full_window_;
  std::vector<float> logits_;
  std::vector<int32_t> experts_;  // of the last token
  bool logits_fresh_ = false;
  int64_t drawn_ = 0;
};

// What a text starts from that has no prompt: a line break, or the first symbol where there is none.
std::vector<int32_t> default_prompt(const Tokenizer& tokenizer);

}  // namespace moe
