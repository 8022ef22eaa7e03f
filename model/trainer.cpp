#include "model/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/memory.h"
#include "model/streams.h"

namespace moe {
namespace {

// Tokens one evaluation pass takes when nothing ties a sequence to its batch: enough rows for every expert's
// product to be efficient, few enough for the activations to stay small.
constexpr int64_t kEvalTokens = 2048;

// Sequences an evaluation pass takes. With noise or capacity in evaluation a token's result depends on its
// place in the batch, and batches keep the size of training.
int64_t eval_sequences(const ModelConfig& m, const TrainConfig& t) {
  if (!m.rows_stand_alone()) return t.batch_size;
  return std::min(t.eval_iters * t.batch_size, std::max(t.batch_size, kEvalTokens / m.block_size));
}

struct Pass {
  LmOutput output;
  Var cross_entropy;  // [1]
  Var auxiliary;      // [1], undefined without auxiliary losses
};

Pass run_pass(Tape& tape, const MoeLm& model, const TrainConfig& config, const Tensor& tokens,
              const Tensor& targets, const ForwardOptions& options) {
  Pass pass;
  pass.output = model.forward(tape, tokens, options);
  pass.cross_entropy = cross_entropy(tape, pass.output.logits, targets.reshape({targets.numel()}));
  if (tape.mode() == Mode::train)
    pass.auxiliary = auxiliary_loss(tape, pass.output.routing, auxiliary_weights(config));
  return pass;
}

void backward(Tape& tape, const Pass& pass) {
  tape.backward(pass.auxiliary.defined() ? add(tape, pass.cross_entropy, pass.auxiliary)
                                         : pass.cross_entropy);
}

double scalar(const Var& v) {
  if (!v.defined()) return 0;
  return v.dtype() == DType::f64 ? v.value().data<double>()[0] : v.value().data<float>()[0];
}

void add_routing(const std::vector<LayerRouting>& routing, StepStats& stats) {
  int64_t kept = 0, asked = 0;
  for (const LayerRouting& layer : routing) {
    const auto count = layer.plan.count.span<int32_t>();
    const double mean = static_cast<double>(layer.plan.rows()) / static_cast<double>(layer.plan.experts);
    stats.busiest_over_mean = std::max(stats.busiest_over_mean, *std::ranges::max_element(count) / mean);
    kept += layer.plan.offsets.span<int32_t>().back();
    asked += layer.plan.rows();
  }
  stats.dropped_share = 1.0 - static_cast<double>(kept) / static_cast<double>(asked);
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& m, const TrainConfig& t, int64_t available) {
  const auto refuse = [&](double bytes) {
    throw error(
        ErrorKind::resource,
        "this run needs {} of memory and {} are available; lower --n-embed, --n-layer, --num-experts, "
        "--batch-size or --block-size",
        format_bytes(bytes), format_bytes(static_cast<double>(available)));
  };
  // Values, gradients and two moments; a lower bound of the activations: two residual streams a layer.
  const double tokens = static_cast<double>(t.batch_size) * static_cast<double>(m.block_size);
  const double least = 4 * sizeof(float) * m.parameters() + 2 * sizeof(float) * tokens *
                                                                static_cast<double>(m.n_embed) *
                                                                static_cast<double>(m.n_layer);
  if (least > static_cast<double>(available)) refuse(least);

  const MoeLm model(m, DType::f32, Device::meta);
  MemoryPlan plan;
  for (const Parameter& p : model.parameters()) {
    plan.parameters += p.value.nbytes();
    plan.gradients += p.grad.nbytes();
  }
  plan.optimizer = 2 * plan.parameters;

  Arena arena(Device::meta);
  {
    const Tensor batch = Tensor::empty({t.batch_size, m.block_size}, DType::i32, Device::meta);
    Tape tape(arena, Mode::train);
    const Pass pass = run_pass(tape, model, t, batch, batch, {});
    backward(tape, pass);
  }
  {
    const Tensor batch = Tensor::empty({eval_sequences(m, t), m.block_size}, DType::i32, Device::meta);
    Tape tape(arena, Mode::infer);
    run_pass(tape, model, t, batch, batch, {});
  }
  plan.activations = arena.peak_bytes();
  if (plan.total() > available) refuse(static_cast<double>(plan.total()));
  return plan;
}

Trainer::Trainer(const MoeLm& model, const TrainConfig& config, const Corpus& corpus, const MemoryPlan& plan)
    : model_(model),
      config_(config),
      corpus_(corpus),
      arena_(Device::cpu, plan.activations),
      optimizer_(model) {
  const int64_t length = model.config().block_size;
  const int64_t eval_batch = eval_sequences(model.config(), config);
  tokens_ = Tensor::empty({config.batch_size, length}, DType::i32);
  targets_ = Tensor::empty({config.batch_size, length}, DType::i32);
  eval_tokens_ = Tensor::empty({eval_batch, length}, DType::i32);
  eval_targets_ = Tensor::empty({eval_batch, length}, DType::i32);
}

ForwardOptions Trainer::draw_batch(int64_t step) {
  const auto seed = static_cast<uint64_t>(config_.seed);
  draw_sequences(corpus_.train(), rng_address(seed, step, Draw::train_batch), 0, tokens_, targets_);
  ForwardOptions options;
  options.seed = seed;
  options.step = step;
  return options;
}

StepStats Trainer::step(int64_t step) {
  const ForwardOptions options = draw_batch(step);
  Tape tape(arena_, Mode::train);
  const Pass pass = run_pass(tape, model_, config_, tokens_, targets_, options);
  backward(tape, pass);

  StepStats stats;
  stats.loss = scalar(pass.cross_entropy);
  stats.auxiliary = scalar(pass.auxiliary);
  add_routing(pass.output.routing, stats);
  AdamWSettings settings;
  settings.learning_rate = config_.learning_rate;
  settings.weight_decay = config_.weight_decay;
  settings.grad_clip = config_.grad_clip;
  stats.grad_norm = optimizer_.grad_norm();
  if (!std::isfinite(stats.loss + stats.auxiliary) || !std::isfinite(stats.grad_norm))
    throw error(ErrorKind::diverged,
                "training diverged at step {}: loss {}, gradient norm {}; lower --learning-rate {} or set "
                "--grad-clip",
                step, stats.loss, stats.grad_norm, config_.learning_rate);
  optimizer_.step(settings, stats.grad_norm, pass.output.routing);
  return stats;
}

double Trainer::peek_loss(int64_t step) {
  const ForwardOptions options = draw_batch(step);
  Tape tape(arena_, Mode::train);
  return scalar(run_pass(tape, model_, config_, tokens_, targets_, options).cross_entropy);
}

EvalStats Trainer::evaluate(int64_t step, const std::function<bool()>& stop) {
  return {evaluate_split(corpus_.train(), step, false, stop),
          evaluate_split(corpus_.validation(), step, true, stop)};
}

double Trainer::evaluate_split(std::span<const int32_t> ids, int64_t step, bool validation,
                               const std::function<bool()>& stop) {
  const auto seed = static_cast<uint64_t>(config_.seed);
  const RngAddress starts =
      rng_address(seed, step, validation ? Draw::eval_val_batch : Draw::eval_train_batch);
  const int64_t total = config_.eval_iters * config_.batch_size;
  double sum = 0;
  for (int64_t first = 0; first < total; first += eval_tokens_.size(0)) {
    if (stop && stop()) return std::numeric_limits<double>::quiet_NaN();
    const int64_t sequences = std::min(eval_tokens_.size(0), total - first);
    const Tensor tokens = eval_tokens_.rows(0, sequences), targets = eval_targets_.rows(0, sequences);
    draw_sequences(ids, starts, first, tokens, targets);
    ForwardOptions options;  // a seed of its own for every pass: noise may be on
    options.seed =
        random_u64(rng_address(seed, step, Draw::eval_seed, validation), static_cast<uint64_t>(first));
    options.step = step;
    Tape tape(arena_, Mode::infer);
    sum += scalar(run_pass(tape, model_, config_, tokens, targets, options).cross_entropy) *
           static_cast<double>(sequences);
  }
  return sum / static_cast<double>(total);
}

}  // namespace moe
