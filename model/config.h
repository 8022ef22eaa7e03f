#pragma once
// What a model is, and how it is trained. One list of fields serves the command line, config.json and
// --print-config: a field named top_k is the option --top-k and the key "top_k".

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "autograd/ops.h"
#include "model/tokenizer.h"

namespace moe {

enum class RouterKind { noisy_topk, topk };
// When the noise of the router, or the capacity of the experts, acts.
enum class When { train, always };
enum class Init { kaiming, xavier, gpt2 };
enum class Activation { relu, silu };
// Over which logits the gates' softmax runs. automatic: selected, but all when top_k is 1, because the
// softmax of a single logit is the constant 1 and gives the router no gradient.
enum class GatePolicy { automatic, selected, all };
// How the learning rate goes over the run, see model/schedule.h. wsd: warm-up, stable, decay.
enum class Schedule { constant, linear, cosine, wsd };

// The words of an enum, in the order of its values.
template <class E>
const std::vector<std::string>& words_of();
template <>
const std::vector<std::string>& words_of<RouterKind>();
template <>
const std::vector<std::string>& words_of<When>();
template <>
const std::vector<std::string>& words_of<Init>();
template <>
const std::vector<std::string>& words_of<Activation>();
template <>
const std::vector<std::string>& words_of<GatePolicy>();
template <>
const std::vector<std::string>& words_of<TokenizerKind>();
template <>
const std::vector<std::string>& words_of<Schedule>();

// top_k -> --top-k
std::string option_name(std::string field);

// The defaults are those of the reference system, with its weaknesses off.
struct ModelConfig {
  int64_t vocab_size = 0;  // from the text
  int64_t block_size = 32;
  int64_t n_embed = 128;
  int64_t n_head = 8;
  int64_t n_layer = 8;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  double dropout = 0.1;
  double capacity_factor = 0;  // 0: no capacity, no token is dropped
  When capacity_at = When::train;
  RouterKind router = RouterKind::noisy_topk;
  When noise = When::train;
  GatePolicy gate_softmax = GatePolicy::automatic;
  Activation activation = Activation::relu;
  Init init = Init::kaiming;

  int64_t head_dim() const { return n_embed / n_head; }
  int64_t hidden() const { return 4 * n_embed; }
  GateSoftmax gate() const;
  // int(tokens * k / E * capacity_factor), or kNoCapacity when no capacity acts in this mode.
  int64_t capacity(int64_t tokens, Mode mode) const;
  // Whether the router draws noise in this mode.
  bool draws_noise(Mode mode) const {
    return router == RouterKind::noisy_topk && (mode == Mode::train || noise == When::always);
  }
  // Whether in inference a token's result is the same whatever else is in the pass.
  bool rows_stand_alone() const {
    return !draws_noise(Mode::infer) && (capacity_factor == 0 || capacity_at == When::train);
  }

  // Throws ErrorKind::usage naming the option for values that make no model.
  void validate() const;
  // Elements of all parameters, and of those that one token meets (top_k of the experts). As double, since a
  // configuration that cannot be built may ask for more than an integer counts.
  double parameters() const;
  double active_parameters() const;

  template <class Self, class F>
  static void fields(Self& c, F&& f) {
    f("block_size", c.block_size, "tokens the model sees at once");
    f("n_embed", c.n_embed, "width of the residual stream, C");
    f("n_head", c.n_head, "attention heads a layer");
    f("n_layer", c.n_layer, "layers");
    f("num_experts", c.num_experts, "experts a layer, E");
    f("top_k", c.top_k, "experts a token is sent to, k");
    f("dropout", c.dropout, "share of activations zeroed in training");
    f("capacity_factor", c.capacity_factor,
      "an expert takes int(N*k/E * factor) tokens and drops the rest; 0: no limit");
    f("capacity_at", c.capacity_at, "when the capacity acts");
    f("router", c.router, "how experts are chosen");
    f("noise", c.noise, "when the noisy router draws noise");
    f("gate_softmax", c.gate_softmax, "softmax over the selected logits or all; auto: all when k = 1");
    f("activation", c.activation, "between the two products of an expert");
    f("init", c.init, "distribution of the initial weights");
  }
};

struct TrainConfig {
  int64_t batch_size = 16;
  int64_t max_iters = 5000;
  int64_t eval_interval = 100;
  int64_t eval_iters = 400;
  bool eval_full = false;
  int64_t patience = 0;    // 0: never stops early
  int64_t accumulate = 1;  // micro batches of batch_size sequences a step
  double learning_rate = 1e-3;
  Schedule schedule = Schedule::constant;
  int64_t warmup_iters = 0;
  int64_t decay_iters = 0;  // 0: a tenth of max_iters
  double min_learning_rate = 0;
  double weight_decay = 0.01;
  double grad_clip = 0;      // largest L2 norm of the gradient; 0: no clipping
  double spike_zscore = 10;  // 0: no loss is too high as long as it is finite
  int64_t max_skips = 5;
  int64_t max_rewinds = 2;
  double importance_loss = 0;
  double load_loss = 0;
  double balance_loss = 0;
  double z_loss = 0;
  int64_t seed = 1337;
  TokenizerKind tokenizer = TokenizerKind::character;
  int64_t vocab_size =
      4096;  // most tokens that byte-pair encoding learns; characters are as many as there are

  bool has_auxiliary_loss() const {
    return importance_loss != 0 || load_loss != 0 || balance_loss != 0 || z_loss != 0;
  }
  // Throws ErrorKind::usage naming the option; some losses ask for a certain router.
  void validate(const ModelConfig& model) const;

  template <class Self, class F>
  static void fields(Self& c, F&& f) {
    f("batch_size", c.batch_size, "sequences a step, B");
    f("max_iters", c.max_iters, "steps");
    f("eval_interval", c.eval_interval, "steps between evaluations");
    f("eval_iters", c.eval_iters, "batches per split of an evaluation");
    f("eval_full", c.eval_full, "evaluate on the whole validation split, each position once");
    f("patience", c.patience, "stop after this many evaluations without a lower validation loss; 0: never");
    f("accumulate", c.accumulate, "batches whose mean gradient makes a step");
    f("learning_rate", c.learning_rate, "of AdamW; the largest of the schedule");
    f("schedule", c.schedule, "how the learning rate goes on after the warm-up");
    f("warmup_iters", c.warmup_iters, "first steps, over which the learning rate rises");
    f("decay_iters", c.decay_iters, "last steps, over which wsd lowers the learning rate; 0: a tenth");
    f("min_learning_rate", c.min_learning_rate, "of the last step, for linear, cosine and wsd");
    f("weight_decay", c.weight_decay, "of AdamW, decoupled, on all parameters");
    f("grad_clip", c.grad_clip, "clip the gradient to this L2 norm; 0: never");
    f("importance_loss", c.importance_loss, "weight of Shazeer's importance loss");
    f("load_loss", c.load_loss, "weight of Shazeer's load loss (noisy-topk only)");
    f("balance_loss", c.balance_loss, "weight of the Switch balance loss");
    f("z_loss", c.z_loss, "weight of the router z-loss");
    f("spike_zscore", c.spike_zscore,
      "skip a step whose loss is this many deviations above the running mean; 0: only NaN and infinity");
    f("max_skips", c.max_skips, "steps skipped in a row before the run rewinds to its last checkpoint");
    f("max_rewinds", c.max_rewinds, "rewinds to a checkpoint before the run ends with code 6");
    f("seed", c.seed, "of all random numbers");
    f("tokenizer", c.tokenizer, "a token is a character, or a piece of a word (byte pairs)");
    f("vocab_size", c.vocab_size, "tokens that --tokenizer bpe learns, at most");
  }
};

// Throws ErrorKind::usage, naming the option, for a value that is not the default and would do nothing beside
// the others. For those who start a run: a model that was trained with such a value is valid.
void require_effect(const ModelConfig&, const TrainConfig&);

// config.json: {"format": "makemoe", "version": 1, "model": {...}, "training": {...}}. Unknown keys, missing
// model keys, duplicate keys and wrong types are errors of kind `kind` that name `origin`.
std::string to_json(const ModelConfig&, const TrainConfig&);
void from_json(const std::string& text, const std::string& origin, ErrorKind kind, ModelConfig&,
               TrainConfig&);

}  // namespace moe
