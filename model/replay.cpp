#include "model/replay.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "core/quote.h"
#include "model/moe_lm.h"
#include "model/optimizer.h"
#include "model/replay_names.h"

namespace moe {
namespace {

// --- Reading the recording ---

Error broken(const Safetensors& file, const std::string& what) {
  return error(ErrorKind::checkpoint, "{}: {}", file.origin(), what);
}

const std::string& metadata(const Safetensors& file, const std::string& key) {
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end())
    throw broken(file, "the metadata lacks \"" + key + "\"; not a recorded run");
  return it->second;
}

template <class T>
T parse(const Safetensors& file, const std::string& key, std::string_view text) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size())
    throw broken(file, fmt::format("{} in metadata \"{}\" is not a number", in_quotes(text), key));
  return value;
}

template <class T>
T number(const Safetensors& file, const std::string& key) {
  return parse<T>(file, key, metadata(file, key));
}

std::vector<double> number_list(const Safetensors& file, const std::string& key) {
  std::vector<double> values;
  std::string_view rest = metadata(file, key);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    if (end > 0) values.push_back(parse<double>(file, key, rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return values;
}

// A tensor of the file, of any of the element types T, converted to To.
template <class To, class... T>
std::vector<To> values_of(const Safetensors& file, const std::string& name, const Shape& shape) {
  const Safetensors::Entry* entry = file.find(name);
  if (!entry) throw broken(file, "there is no tensor " + in_quotes(name));
  if (!(entry->shape == shape))
    throw broken(file, fmt::format("{} must be {}, got {}", in_quotes(name), shape, entry->shape));
  const Tensor tensor = file.tensor(name);
  std::vector<To> values;
  bool known = false;
  const auto take = [&]<class From>() {
    if (entry->dtype != dtype_of<From>()) return;
    known = true;
    for (const From x : tensor.span<From>()) values.push_back(static_cast<To>(x));
  };
  (take.template operator()<T>(), ...);
  if (!known) throw broken(file, fmt::format("{} has the type {}", in_quotes(name), name_of(entry->dtype)));
  return values;
}

std::vector<double> reals(const Safetensors& file, const std::string& name, const Shape& shape) {
  return values_of<double, float, double>(file, name, shape);
}

void fill(const Tensor& target, const std::vector<double>& values) {
  if (target.dtype() == DType::f64)
    std::ranges::copy(values, target.data<double>());
  else
    std::ranges::transform(values, target.data<float>(), [](double x) { return static_cast<float>(x); });
}

std::vector<double> contents(const Tensor& t) {
  if (t.dtype() == DType::f64) return {t.span<double>().begin(), t.span<double>().end()};
  return {t.span<float>().begin(), t.span<float>().end()};
}

Tensor token_ids(const Safetensors& file, const std::string& name, const Shape& shape, int64_t vocab_size) {
  const auto values = values_of<int64_t, int64_t, int32_t>(file, name, shape);
  const Tensor ids = Tensor::empty(shape, DType::i32);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || values[i] >= vocab_size)
      throw broken(file, fmt::format("{} holds the symbol {} of {}", in_quotes(name), values[i], vocab_size));
    ids.data<int32_t>()[i] = static_cast<int32_t>(values[i]);
  }
  return ids;
}

struct Run {
  ModelConfig config;
  int64_t batch = 0, steps = 0;
  double learning_rate = 0;
  std::vector<double> losses;  // nine decimals
};

Run read_run(const Safetensors& file) {
  Run run;
  ModelConfig& c = run.config;
  c.vocab_size = number<int64_t>(file, "vocab_size");
  c.block_size = number<int64_t>(file, "block_size");
  c.n_embed = number<int64_t>(file, "n_embed");
  c.n_head = number<int64_t>(file, "n_head");
  c.n_layer = number<int64_t>(file, "n_layer");
  c.num_experts = number<int64_t>(file, "num_experts");
  c.top_k = number<int64_t>(file, "top_k");
  c.capacity_factor = number<double>(file, "capacity_factor");
  c.dropout = 0;
  c.gate_softmax = GatePolicy::selected;
  c.router = file.find("weight/" + noise_router_name(0)) ? RouterKind::noisy_topk : RouterKind::topk;
  run.batch = number<int64_t>(file, "batch_size");
  run.steps = number<int64_t>(file, "steps");
  run.learning_rate = number<double>(file, "learning_rate");
  run.losses = number_list(file, "losses");
  try {
    c.validate();
  } catch (const Error& e) {
    throw broken(file, std::string("its model cannot be built: ") + e.what());
  }
  // Before any memory is taken for what the metadata claims: the file holds every weight three times.
  uint64_t bytes = 0;
  for (const auto& entry : file.entries()) bytes += entry.end - entry.begin;
  if (c.parameters() * sizeof(float) > static_cast<double>(bytes))
    throw broken(file, "its metadata tells of a larger model than it holds");
  if (run.batch < 1 || run.batch > std::numeric_limits<int32_t>::max())
    throw broken(file, fmt::format("batch_size {} makes no batch", run.batch));
  if (run.steps < 1 || static_cast<uint64_t>(run.steps) != run.losses.size())
    throw broken(file, fmt::format("{} losses for {} steps", run.losses.size(), run.steps));
  return run;
}

// --- Comparing ---

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double x : values) most = std::max(most, std::abs(x));
  return most;
}

// NaN is worse than anything.
void take_worst(ReplayRow& row, double error, const std::string& tensor) {
  if (error <= row.error || std::isnan(row.error)) return;
  row.error = error;
  row.worst = tensor;
}

// The largest error of `got` against `wanted`, relative to the largest magnitude of `wanted`, or to `floor`
// when that is larger. NaN when any error is.
double relative_error(const std::vector<double>& got, const std::vector<double>& wanted, double floor) {
  double most = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(got[i] - wanted[i]);
    if (std::isnan(error)) return error;
    most = std::max(most, error);
  }
  const double scale = std::max(largest(wanted), floor);
  return most == 0 ? 0 : most / scale;
}

// See docs/numerics.md. In f64 the rounding of the recording to float32, 6e-8, is the largest error by far.
struct Tolerance {
  double forward = 1e-6, gradients = 1e-6;
  double change = 1e-6;       // of the weights over the run
  double rounding = 0x1p-53;  // of the largest gradient: what is smaller cannot be told from zero
  double drift = 0;           // of the logits with every step made

  Tolerance(const Run& run, DType dtype) {
    if (dtype == DType::f64) return;
    const ModelConfig& c = run.config;
    const int64_t longest = std::max({c.hidden(), c.vocab_size, run.batch * c.block_size});
    const auto operations = static_cast<double>(10 * c.n_layer + 2);
    rounding = 0x1p-24;
    forward = operations * std::sqrt(static_cast<double>(longest)) * rounding;
    gradients = 3 * forward;
    change = std::sqrt(13 * gradients);
    drift = change * run.learning_rate;
  }
  double after(int64_t steps) const { return forward + drift * static_cast<double>(steps); }
};

class Replay {
 public:
  Replay(const Safetensors& file, DType dtype)
      : file_(file),
        run_(read_run(file)),
        tolerance_(run_, dtype),
        model_(run_.config, dtype),
        state_(model_, {}),
        optimizer_(model_),
        arena_(Device::cpu) {
    for (const Parameter& p : model_.parameters()) {
      for (RecordedTensor& t : recorded_tensors(run_.config, p)) tensors_.push_back(std::move(t));
    }
    std::set<std::string> known;
    for (const RecordedTensor& t : tensors_) {
      fill(t.value, reals(file_, "weight/" + name_in(t), t.value.shape()));
      known.insert("weight/" + name_in(t));
    }
    for (const auto& entry : file_.entries())
      if (entry.name.starts_with("weight/") && !known.contains(entry.name))
        throw broken(file_, in_quotes(entry.name) + " belongs to no part of the model");
  }

  std::vector<ReplayRow> run();

 private:
  // The plain router of the original calls its layer "linear"; others keep the noisy router's name.
  std::string name_in(const RecordedTensor& t) const {
    return file_.find("weight/" + t.name) || t.other_name.empty() ? t.name : t.other_name;
  }
  void step(int64_t step);
  void compare_gradients();
  void compare_final_weights();

  const Safetensors& file_;
  Run run_;
  Tolerance tolerance_;
  MoeLm model_;
  StepState state_;
  Optimizer optimizer_;
  Arena arena_;
  std::vector<RecordedTensor> tensors_;
  std::vector<ReplayRow> rows_;
  ReplayRow losses_, printed_losses_;
};

void Replay::step(int64_t i) {
  const ModelConfig& c = run_.config;
  const std::string prefix = "step" + std::to_string(i) + "/";
  const Shape batch{run_.batch, c.block_size};
  const Tensor tokens = token_ids(file_, prefix + "idx", batch, c.vocab_size);
  const Tensor targets = token_ids(file_, prefix + "targets", batch, c.vocab_size);
  std::vector<Tensor> noise;
  for (int64_t l = 0; l < c.n_layer && c.router == RouterKind::noisy_topk; ++l) {
    noise.push_back(Tensor::empty({run_.batch * c.block_size, c.num_experts}, model_.dtype()));
    fill(noise.back(),
         reals(file_, prefix + "noise/" + std::to_string(l), {run_.batch, c.block_size, c.num_experts}));
  }
  ForwardOptions options;
  options.step = i;
  options.noise = noise;
  Tape tape(arena_, Mode::train);
  const LmOutput out = model_.forward(tape, tokens, options);
  const Var loss = cross_entropy(tape, out.logits, targets.reshape({targets.numel()}));

  const std::vector<double> got_loss = contents(loss.value());
  ReplayRow logits{fmt::format("logits, step {}", i), 0, tolerance_.after(i), {}};
  take_worst(logits,
             relative_error(contents(out.logits.value()),
                            reals(file_, prefix + "logits", {run_.batch, c.block_size, c.vocab_size}), 0),
             prefix + "logits");
  rows_.push_back(logits);
  take_worst(losses_, relative_error(got_loss, reals(file_, prefix + "loss", {1}), 0), prefix + "loss");
  take_worst(printed_losses_, relative_error(got_loss, {run_.losses[static_cast<size_t>(i)]}, 0),
             prefix + "loss");

  tape.backward(loss);
  if (i == 0) compare_gradients();
  state_.set({{0, static_cast<uint64_t>(i)}, run_.learning_rate});
  state_.note(0, loss, {}, out.routing);
  optimizer_.grad_norm(state_);
  state_.finish(c.n_layer * run_.batch * c.block_size * c.top_k);
  optimizer_.step({}, state_);
}

void Replay::compare_gradients() {
  for (const Parameter& p : model_.parameters()) p.settle();
  std::vector<std::vector<double>> wanted;
  double most = 0;
  for (const RecordedTensor& t : tensors_) {
    // A tensor without a gradient, such as one of an expert without tokens, may be left out of the recording.
    const std::string name = "grad/" + name_in(t);
    wanted.push_back(file_.find(name) ? reals(file_, name, t.grad.shape())
                                      : std::vector<double>(static_cast<size_t>(t.grad.numel())));
    most = std::max(most, largest(wanted.back()));
  }
  ReplayRow row{"gradients, step 0", 0, tolerance_.gradients, {}};
  for (size_t i = 0; i < tensors_.size(); ++i)
    take_worst(row,
               relative_error(contents(tensors_[i].grad), wanted[i],
                              tolerance_.rounding / tolerance_.gradients * most),
               "grad/" + name_in(tensors_[i]));
  rows_.push_back(row);
}

// In f64 the largest error counts. In f32 AdamW turns the rounding of a gradient near zero into a step of any
// size up to the learning rate, so that only the mean over all weights says something.
void Replay::compare_final_weights() {
  const bool exact = model_.dtype() == DType::f64;
  ReplayRow row{exact ? "final weights" : "change of weights, rms", 0, tolerance_.change, {}};
  double all_errors = 0, all_changes = 0;
  for (const RecordedTensor& t : tensors_) {
    const std::string name = "final/" + name_in(t);
    const std::vector<double> got = contents(t.value), wanted = reals(file_, name, t.value.shape());
    if (exact) {
      take_worst(row, relative_error(got, wanted, 0), name);
      continue;
    }
    const std::vector<double> before = reals(file_, "weight/" + name_in(t), t.value.shape());
    double errors = 0, changes = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      errors += (got[i] - wanted[i]) * (got[i] - wanted[i]);
      changes += (wanted[i] - before[i]) * (wanted[i] - before[i]);
    }
    all_errors += errors;
    all_changes += changes;
    take_worst(row, errors == 0 ? 0 : errors / changes, name);
  }
  if (!exact) row.error = all_errors > 0 ? std::sqrt(all_errors / all_changes) : all_errors;
  rows_.push_back(row);
}

std::vector<ReplayRow> Replay::run() {
  losses_ = {"losses", 0, tolerance_.after(run_.steps), {}};
  printed_losses_ = {"losses, nine decimals", 0, tolerance_.after(run_.steps), {}};
  for (int64_t i = 0; i < run_.steps; ++i) step(i);
  rows_.push_back(losses_);
  rows_.push_back(printed_losses_);
  compare_final_weights();
  return std::move(rows_);
}

}  // namespace

std::vector<ReplayRow> replay_makemoe(const Safetensors& recording, DType dtype) {
  return Replay(recording, dtype).run();
}

}  // namespace moe
