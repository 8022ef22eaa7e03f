#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moe {
namespace {

constexpr int64_t kMaxExtent = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxLayers = 4'000;    // their moments are as many tensors as core/safetensors.h reads
constexpr double kMaxParameters = 1e15;  // beyond this, counting bytes could overflow

void check_range(const char* field, int64_t value, int64_t least, int64_t most) {
  if (value < least)
    throw error(ErrorKind::usage, "{} {} is smaller than {}", option_name(field), value, least);
  if (value > most) throw error(ErrorKind::usage, "{} {} is larger than {}", option_name(field), value, most);
}

void check_not_negative(const char* field, double value) {
  if (!std::isfinite(value) || value < 0)
    throw error(ErrorKind::usage, "{} {} is not a number from 0 on", option_name(field), value);
}

// Elements of all parameters when `experts` of a layer's experts are counted. The terms follow MoeLm's
// layers.
double count_parameters(const ModelConfig& c, int64_t experts) {
  const auto V = static_cast<double>(c.vocab_size), T = static_cast<double>(c.block_size);
  const auto C = static_cast<double>(c.n_embed), H = static_cast<double>(c.hidden());
  const auto E = static_cast<double>(c.num_experts), L = static_cast<double>(c.n_layer);
  const double attention = C * 3 * C + (C * C + C);
  const double router = (c.router == RouterKind::noisy_topk ? 2 : 1) * (C * E + E);
  const double expert = (C * H + H) + (H * C + C);
  const double layer_norm = 2 * C;
  const double layer = 2 * layer_norm + attention + router + static_cast<double>(experts) * expert;
  return V * C + T * C + L * layer + layer_norm + (C * V + V);
}

}  // namespace

template <>
const std::vector<std::string>& words_of<RouterKind>() {
  static const std::vector<std::string> words = {"noisy-topk", "topk"};
  return words;
}
template <>
const std::vector<std::string>& words_of<When>() {
  static const std::vector<std::string> words = {"train", "always"};
  return words;
}
template <>
const std::vector<std::string>& words_of<Init>() {
  static const std::vector<std::string> words = {"kaiming", "xavier", "gpt2"};
  return words;
}
template <>
const std::vector<std::string>& words_of<Activation>() {
  static const std::vector<std::string> words = {"relu", "silu"};
  return words;
}
template <>
const std::vector<std::string>& words_of<GatePolicy>() {
  static const std::vector<std::string> words = {"auto", "selected", "all"};
  return words;
}
template <>
const std::vector<std::string>& words_of<TokenizerKind>() {
  static const std::vector<std::string> words = {"char", "bpe"};
  return words;
}
template <>
const std::vector<std::string>& words_of<Schedule>() {
  static const std::vector<std::string> words = {"constant", "linear", "cosine", "wsd"};
  return words;
}

std::string option_name(std::string field) {
  std::ranges::replace(field, '_', '-');
  return "--" + field;
}

GateSoftmax ModelConfig::gate() const {
  switch (gate_softmax) {
    case GatePolicy::selected:
      return GateSoftmax::selected;
    case GatePolicy::all:
      return GateSoftmax::all;
    case GatePolicy::automatic:
      break;
  }
  return top_k == 1 ? GateSoftmax::all : GateSoftmax::selected;
}

int64_t ModelConfig::capacity(int64_t tokens, Mode mode) const {
  const bool acts = capacity_factor > 0 && (mode == Mode::train || capacity_at == When::always);
  if (!acts) return kNoCapacity;
  const double wanted =
      static_cast<double>(tokens * top_k) / static_cast<double>(num_experts) * capacity_factor;
  // No expert can be chosen by more than all tokens.
  return static_cast<int64_t>(std::min(wanted, static_cast<double>(tokens)));
}

void ModelConfig::validate() const {
  check_range("vocab_size", vocab_size, 0, kMaxExtent);
  check_range("block_size", block_size, 1, kMaxExtent);
  check_range("n_embed", n_embed, 1, kMaxExtent / 4);  // 4C is an extent too
  check_range("n_head", n_head, 1, kMaxExtent);
  check_range("n_layer", n_layer, 1, kMaxLayers);
  check_range("num_experts", num_experts, 1, kMaxExtent);
  check_range("top_k", top_k, 1, kMaxExtent);
  if (n_embed % n_head != 0)
    throw error(ErrorKind::usage, "--n-embed {} is not divisible by --n-head {}", n_embed, n_head);
  if (top_k > num_experts)
    throw error(ErrorKind::usage, "--top-k {} is larger than --num-experts {}", top_k, num_experts);
  if (block_size > kMaxExtent / top_k)
    throw error(ErrorKind::usage, "--block-size {} times --top-k {} is more than {} rows", block_size, top_k,
                kMaxExtent);
  if (!(dropout >= 0 && dropout < 1)) throw error(ErrorKind::usage, "--dropout {} is not in [0, 1)", dropout);
  check_not_negative("capacity_factor", capacity_factor);
  if (parameters() > kMaxParameters)
    throw error(ErrorKind::usage, "a model of {:.3g} parameters: more than {:.0g} cannot be counted",
                parameters(), kMaxParameters);
}

void TrainConfig::validate(const ModelConfig& model) const {
  check_range("batch_size", batch_size, 1, kMaxExtent);
  check_range("max_iters", max_iters, 0, kMaxExtent);
  check_range("eval_interval", eval_interval, 1, kMaxExtent);
  check_range("eval_iters", eval_iters, 1, kMaxExtent);
  check_range("patience", patience, 0, kMaxExtent);
  check_range("accumulate", accumulate, 1, kMaxExtent);
  check_range("warmup_iters", warmup_iters, 0, kMaxExtent);
  check_range("decay_iters", decay_iters, 0, kMaxExtent);
  check_range("max_skips", max_skips, 1, kMaxExtent);
  check_range("max_rewinds", max_rewinds, 0, kMaxExtent);
  check_range("seed", seed, 0, std::numeric_limits<int64_t>::max());
  check_range("vocab_size", vocab_size, BpeTokenizer::kBytes, BpeTokenizer::kMaxVocabulary);
  if (batch_size > kMaxExtent / (model.block_size * model.top_k))
    throw error(ErrorKind::usage,
                "--batch-size {} times --block-size {} times --top-k {} is more than {} rows", batch_size,
                model.block_size, model.top_k, kMaxExtent);
  if (!std::isfinite(learning_rate) || learning_rate <= 0)
    throw error(ErrorKind::usage, "--learning-rate {} is not a number above 0", learning_rate);
  check_not_negative("min_learning_rate", min_learning_rate);
  if (min_learning_rate > learning_rate)
    throw error(ErrorKind::usage, "--min-learning-rate {} is larger than --learning-rate {}",
                min_learning_rate, learning_rate);
  if (min_learning_rate != 0 && schedule == Schedule::constant)
    throw error(ErrorKind::usage, "--min-learning-rate {} needs --schedule linear, cosine or wsd",
                min_learning_rate);
  if (decay_iters != 0 && schedule != Schedule::wsd)
    throw error(ErrorKind::usage, "--decay-iters {} needs --schedule wsd", decay_iters);
  check_not_negative("spike_zscore", spike_zscore);
  check_not_negative("weight_decay", weight_decay);
  check_not_negative("grad_clip", grad_clip);
  check_not_negative("importance_loss", importance_loss);
  check_not_negative("load_loss", load_loss);
  check_not_negative("balance_loss", balance_loss);
  check_not_negative("z_loss", z_loss);
  if (load_loss != 0 && model.router != RouterKind::noisy_topk)
    throw error(ErrorKind::usage,
                "--load-loss {} needs --router noisy-topk: it is made of the router's noise", load_loss);
}

void require_effect(const ModelConfig& model, const TrainConfig& training) {
  const auto needs = [](const char* option, const auto& value, const char* needed) {
    throw error(ErrorKind::usage, "{} {} does nothing without {}", option, value, needed);
  };
  if (model.noise != When::train && model.router != RouterKind::noisy_topk)
    needs("--noise", "always", "--router noisy-topk");
  if (model.capacity_at != When::train && model.capacity_factor == 0)
    needs("--capacity-at", "always", "--capacity-factor");
  if (training.vocab_size != TrainConfig().vocab_size && training.tokenizer != TokenizerKind::bpe)
    needs("--vocab-size", training.vocab_size, "--tokenizer bpe");
}

double ModelConfig::parameters() const {
  return count_parameters(*this, num_experts);
}
double ModelConfig::active_parameters() const {
  return count_parameters(*this, top_k);
}

}  // namespace moe
