#include "model/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/memory.h"
#include "model/schedule.h"
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

// share [1]: the weight of this pass in the step's loss; undefined: 1.
void backward(Tape& tape, const Pass& pass, const Tensor& share = {}) {
  tape.backward(pass.auxiliary.defined() ? add(tape, pass.cross_entropy, pass.auxiliary) : pass.cross_entropy,
                share);
}

double scalar(const Var& v) {
  if (!v.defined()) return 0;
  const double x = v.dtype() == DType::f64 ? v.value().data<double>()[0] : v.value().data<float>()[0];
  return std::isnan(x) ? std::numeric_limits<double>::quiet_NaN()
                       : x;  // without a sign, for those who read it
}

// Where the assignments of a step went, over all its batches.
class RoutingSums {
 public:
  void add(const std::vector<LayerRouting>& routing) {
    count_.resize(routing.size());
    for (size_t l = 0; l < routing.size(); ++l) {
      const DispatchPlan& plan = routing[l].plan;
      const auto count = plan.count.span<int32_t>();
      count_[l].resize(count.size());
      for (size_t e = 0; e < count.size(); ++e) count_[l][e] += count[e];
      kept_ += plan.offsets.span<int32_t>().back();
      asked_ += plan.rows();
    }
  }
  void write(StepStats& stats) const {
    for (const auto& count : count_) {
      const int64_t all = std::accumulate(count.begin(), count.end(), int64_t{0});
      const double mean = static_cast<double>(all) / static_cast<double>(count.size());
      stats.busiest_over_mean =
          std::max(stats.busiest_over_mean, static_cast<double>(*std::ranges::max_element(count)) / mean);
    }
    stats.dropped_share = 1.0 - static_cast<double>(kept_) / static_cast<double>(asked_);
  }

 private:
  std::vector<std::vector<int64_t>> count_;  // by layer and expert, before any capacity
  int64_t kept_ = 0, asked_ = 0;
};

}  // namespace

bool StepStats::finite() const {
  return std::isfinite(loss + auxiliary) && std::isfinite(grad_norm);
}

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
  if (config.accumulate > 1) {
    share_ = Tensor::empty({1}, model.dtype());
    const double share = 1.0 / static_cast<double>(config.accumulate);
    if (model.dtype() == DType::f64)
      share_.data<double>()[0] = share;
    else
      share_.data<float>()[0] = static_cast<float>(share);
  }
  set_attempt(0);
}

void Trainer::set_attempt(int64_t attempt) {
  const auto seed = static_cast<uint64_t>(config_.seed);
  draw_seed_ = attempt == 0 ? seed : random_u64(rng_address(seed, attempt, Draw::attempt), 0);
}

ForwardOptions Trainer::draw_batch(int64_t step, int64_t batch) {
  draw_sequences(corpus_.train(), rng_address(draw_seed_, step, Draw::train_batch),
                 batch * config_.batch_size, tokens_, targets_);
  ForwardOptions options;
  options.seed =
      batch == 0 ? draw_seed_
                 : random_u64(rng_address(draw_seed_, step, Draw::micro_batch), static_cast<uint64_t>(batch));
  options.step = step;
  return options;
}

StepStats Trainer::compute_gradients(int64_t step) {
  StepStats stats;
  RoutingSums sums;
  for (int64_t batch = 0; batch < config_.accumulate; ++batch) {
    const ForwardOptions options = draw_batch(step, batch);
    Tape tape(arena_, Mode::train);
    const Pass pass = run_pass(tape, model_, config_, tokens_, targets_, options);
    backward(tape, pass, share_);
    stats.loss += scalar(pass.cross_entropy);
    stats.auxiliary += scalar(pass.auxiliary);
    sums.add(pass.output.routing);
    optimizer_.count_tokens(pass.output.routing);
    if (observer_) observer_({step, batch, tokens_, pass.output.routing});
  }
  stats.loss /= static_cast<double>(config_.accumulate);
  stats.auxiliary /= static_cast<double>(config_.accumulate);
  sums.write(stats);
  stats.grad_norm = std::abs(optimizer_.grad_norm());  // of NaN too, whose sign means nothing
  return stats;
}

void Trainer::update(int64_t step, const StepStats& stats) {
  AdamWSettings settings;
  settings.learning_rate = learning_rate_at(config_, step);
  settings.weight_decay = config_.weight_decay;
  settings.grad_clip = config_.grad_clip;
  optimizer_.step(settings, stats.grad_norm);
}

StepStats Trainer::step(int64_t step) {
  const StepStats stats = compute_gradients(step);
  if (!stats.finite()) {
    discard();
    throw error(ErrorKind::diverged,
                "training diverged at step {}: loss {}, gradient norm {}; lower --learning-rate {} or set "
                "--grad-clip",
                step, stats.loss, stats.grad_norm, config_.learning_rate);
  }
  update(step, stats);
  return stats;
}

double Trainer::peek_loss(int64_t step) {
  const ForwardOptions options = draw_batch(step, 0);
  Tape tape(arena_, Mode::train);
  return scalar(run_pass(tape, model_, config_, tokens_, targets_, options).cross_entropy);
}

EvalStats Trainer::evaluate(int64_t step, const std::function<bool()>& stop) {
  return {evaluate_split(corpus_.train(), step, false, stop),
          config_.eval_full ? evaluate_all(corpus_.validation(), step, stop)
                            : evaluate_split(corpus_.validation(), step, true, stop)};
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
    sum += evaluate_pass(tokens, targets, step, validation, first) * static_cast<double>(sequences);
  }
  return sum / static_cast<double>(total);
}

double Trainer::evaluate_all(std::span<const int32_t> ids, int64_t step, const std::function<bool()>& stop) {
  const int64_t length = eval_tokens_.size(1), positions = static_cast<int64_t>(ids.size()) - 1;
  const int64_t whole = positions / length, rest = positions % length;
  double sum = 0;
  const auto add_pass = [&](int64_t first, const Tensor& tokens, const Tensor& targets) {
    sum += evaluate_pass(tokens, targets, step, true, first) * static_cast<double>(tokens.numel());
  };
  for (int64_t first = 0; first < whole; first += eval_tokens_.size(0)) {
    if (stop && stop()) return std::numeric_limits<double>::quiet_NaN();
    const int64_t sequences = std::min(eval_tokens_.size(0), whole - first);
    const Tensor tokens = eval_tokens_.rows(0, sequences), targets = eval_targets_.rows(0, sequences);
    take_sequences(ids, first, tokens, targets);
    add_pass(first, tokens, targets);
  }
  if (rest > 0) {
    const auto start = [&](const Tensor& t) {
      return t.reshape({t.numel()}).rows(0, rest).reshape({1, rest});
    };
    const Tensor tokens = start(eval_tokens_), targets = start(eval_targets_);
    take_sequences(ids.subspan(static_cast<size_t>(whole * length)), 0, tokens, targets);
    add_pass(whole, tokens, targets);
  }
  return sum / static_cast<double>(positions);
}

double Trainer::evaluate_pass(const Tensor& tokens, const Tensor& targets, int64_t step, bool validation,
                              int64_t pass) {
  const auto seed = static_cast<uint64_t>(config_.seed);
  ForwardOptions options;
  options.seed =
      random_u64(rng_address(seed, step, Draw::eval_seed, validation), static_cast<uint64_t>(pass));
  options.step = step;
  Tape tape(arena_, Mode::infer);
  return scalar(run_pass(tape, model_, config_, tokens, targets, options).cross_entropy);
}

}  // namespace moe
