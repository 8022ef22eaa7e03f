#include "model/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

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

// Waits for the GPU.
double scalar(const Var& v) {
  const Tensor value = v.value().to(Device::cpu);
  const double x = value.dtype() == DType::f64 ? value.data<double>()[0] : value.data<float>()[0];
  return kernels::detail::unsigned_nan(x);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Copies in host memory of what an observer may read; the tensors themselves where they lie there.
std::vector<LayerRouting> on_host(const std::vector<LayerRouting>& routing) {
  const auto host = [](const Tensor& t) { return t.to(Device::cpu); };
  const auto constant = [&](const Var& v) {
    return v.defined() ? Var::constant(host(v.value()), "a look at it") : Var();
  };
  std::vector<LayerRouting> copies;
  for (const LayerRouting& layer : routing) {
    const RouterOutput& r = layer.router;
    LayerRouting copy;
    copy.router = {
        constant(r.logits), constant(r.noise_logits), {}, {constant(r.gating.gate), host(r.gating.expert)}};
    copy.plan = layer.plan;
    for (Tensor* t : {&copy.plan.offsets, &copy.plan.assignment, &copy.plan.row, &copy.plan.count})
      *t = host(*t);
    copies.push_back(std::move(copy));
  }
  return copies;
}

}  // namespace

bool StepStats::finite() const {
  return std::isfinite(loss + auxiliary) && std::isfinite(grad_norm);
}

MemoryPlan plan_memory(const ModelConfig& m, const TrainConfig& t, int64_t available, Device device) {
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

  Arena arena = Arena::planning(device);
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
      arena_(model.device(), plan.activations),
      state_(model, {config.accumulate, config.spike_zscore, config.grad_clip}),
      optimizer_(model) {
  const Device device = model.device();
  if constexpr (kWithCuda)
    if (device == Device::cuda) {
      gpu_.emplace();
      arena_.lend_to_graph();
    }
  const Tensor ids = corpus.tensor(device);
  train_ids_ = ids.rows(0, corpus.training_ids());
  validation_ids_ = ids.rows(corpus.training_ids(), ids.numel());
  const int64_t length = model.config().block_size;
  const int64_t eval_batch = eval_sequences(model.config(), config);
  tokens_ = Tensor::empty({config.batch_size, length}, DType::i32, device);
  targets_ = Tensor::empty({config.batch_size, length}, DType::i32, device);
  eval_tokens_ = Tensor::empty({eval_batch, length}, DType::i32, device);
  eval_targets_ = Tensor::empty({eval_batch, length}, DType::i32, device);
  if (config.accumulate > 1) {
    const double share = 1.0 / static_cast<double>(config.accumulate);
    const auto as_float = static_cast<float>(share);
    share_ = (model.dtype() == DType::f64 ? Tensor::from(std::span(&share, 1), {1})
                                          : Tensor::from(std::span(&as_float, 1), {1}))
                 .to(device);
  }
  set_attempt(0);
}

void Trainer::set_attempt(int64_t attempt) {
  const auto seed = static_cast<uint64_t>(config_.seed);
  draw_seed_ = attempt == 0 ? seed : random_u64(rng_address(seed, attempt, Draw::attempt), 0);
}

Stream Trainer::stream() const {
  return gpu_ ? gpu_->stream() : current_stream();
}

StepInputs Trainer::inputs(int64_t step) const {
  return {{draw_seed_, static_cast<uint64_t>(step)}, learning_rate_at(config_, step)};
}

ForwardOptions Trainer::draw_batch(int64_t pass) {
  draw_sequences(train_ids_, state_.address(Draw::train_batch), pass * config_.batch_size, tokens_, targets_);
  return state_.options(pass);
}

void Trainer::launch_gradients(int64_t step, bool look) {
  state_.begin();
  int64_t assignments = 0;
  for (int64_t batch = 0; batch < config_.accumulate; ++batch) {
    const ForwardOptions options = draw_batch(batch);
    Tape tape(arena_, Mode::train);
    const Pass pass = run_pass(tape, model_, config_, tokens_, targets_, options);
    backward(tape, pass, share_);
    state_.note(batch, pass.cross_entropy, pass.auxiliary, pass.output.routing);
    for (const LayerRouting& layer : pass.output.routing) assignments += layer.plan.rows();
    if (look) observer_({step, batch, tokens_.to(Device::cpu), on_host(pass.output.routing)});
  }
  optimizer_.grad_norm(state_);
  state_.finish(assignments);
}

void Trainer::launch_update() {
  AdamWSettings settings;
  settings.weight_decay = config_.weight_decay;
  optimizer_.step(settings, state_);
}

void Trainer::enter(int64_t step) {
  const cuda::StreamScope scope(stream());
  const auto start = std::chrono::steady_clock::now();
  if constexpr (kWithCuda)
    if (gpu_) {
      const bool look = observer_ && step % kLookInterval == 0;
      return gpu_->enter(inputs(step), state_.memory(), look, [&] {
        launch_gradients(step, look);
        launch_update();
      });
    }
  state_.set(inputs(step));
  launch_gradients(step, observer_ != nullptr);
  launch_update();
  done_.push_back({state_.outcome(), step, seconds_since(start)});
}

std::optional<StepStats> Trainer::next([[maybe_unused]] bool wait) {
  if constexpr (kWithCuda)
    if (gpu_) {
      const auto done = gpu_->next(wait);
      if (!done) return {};
      return StepStats{done->outcome, done->step, done->seconds};
    }
  if (done_.empty()) return {};
  const StepStats stats = done_.front();
  done_.pop_front();
  return stats;
}

StepStats Trainer::step(int64_t step) {
  enter(step);
  const StepStats stats = *next(true);
  if (!stats.finite())
    throw error(ErrorKind::diverged,
                "training diverged at step {}: loss {}, gradient norm {}; lower --learning-rate {} or set "
                "--grad-clip",
                step, stats.loss, stats.grad_norm, config_.learning_rate);
  return stats;
}

StepStats Trainer::compute_gradients(int64_t step) {
  const cuda::StreamScope scope(stream());
  const auto start = std::chrono::steady_clock::now();
  state_.set(inputs(step));
  launch_gradients(step, observer_ != nullptr);
  const StepOutcome outcome = state_.outcome();
  return {outcome, step, seconds_since(start)};
}

void Trainer::update() {
  const cuda::StreamScope scope(stream());
  launch_update();
}

void Trainer::discard() {
  const cuda::StreamScope scope(stream());
  optimizer_.discard();
}

void Trainer::remember(const LossHistory& history) {
  const cuda::StreamScope scope(stream());
  state_.restore(history);
}

double Trainer::peek_loss(int64_t step) {
  const cuda::StreamScope scope(stream());
  state_.set(inputs(step));
  state_.begin();
  const ForwardOptions options = draw_batch(0);
  Tape tape(arena_, Mode::train);
  return scalar(run_pass(tape, model_, config_, tokens_, targets_, options).cross_entropy);
}

void Trainer::release_activations() {
  if (gpu_) return;
  const int64_t bytes = arena_.reserved_bytes();
  arena_ = Arena(model_.device());  // so that there are never two blocks
  arena_ = Arena(model_.device(), bytes);
}

EvalStats Trainer::evaluate(int64_t step, const std::function<bool()>& stop) {
  const cuda::StreamScope scope(stream());
  return {evaluate_split(train_ids_, step, false, stop),
          config_.eval_full ? evaluate_all(validation_ids_, step, stop)
                            : evaluate_split(validation_ids_, step, true, stop)};
}

double Trainer::evaluate_split(const Tensor& ids, int64_t step, bool validation,
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

double Trainer::evaluate_all(const Tensor& ids, int64_t step, const std::function<bool()>& stop) {
  const int64_t length = eval_tokens_.size(1), positions = ids.numel() - 1;
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
    take_sequences(ids.rows(whole * length, ids.numel()), 0, tokens, targets);
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
