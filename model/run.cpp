#include "model/run.h"

#include <fmt/chrono.h>

#include <chrono>
#include <cmath>
#include <system_error>
#include <utility>

#include "model/generate.h"
#include "model/schedule.h"
#include "model/text.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr int kSampleTokens = 250;
constexpr const char* kEvents = "divergence.log";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

MetricRow row_of(const StepReport& r) {
  return {r.step,
          unix_time(),
          {{"loss", r.loss},
           {"learning_rate", r.lr},
           {"grad_norm", r.grad_norm},
           {"step_ms", 1e3 * r.seconds},
           {"tokens_per_second", static_cast<double>(r.tokens) / r.seconds},
           {"busiest_over_mean", r.busiest_over_mean},
           {"dropped_share", r.dropped_share}}};
}

MetricRow row_of(const EvalReport& r) {
  return {r.step,
          unix_time(),
          {{"train_loss", r.train},
           {"val_loss", r.val},
           {"train_bits_per_character", r.bits_per_character(r.train)},
           {"val_bits_per_character", r.bits_per_character(r.val)},
           {"eval_seconds", r.seconds}}};
}

}  // namespace

Run::Run(RunFolder& folder, const RunOptions& options, const TrainConfig& config, const Tokenizer& tokenizer,
         const MoeLm& model, Trainer& trainer, Progress& progress, RunRequests requests)
    : folder_(folder),
      options_(options),
      config_(config),
      tokenizer_(tokenizer),
      model_(model),
      trainer_(trainer),
      progress_(progress),
      requests_(std::move(requests)) {}

void Run::attach(RunObserver observer) {
  observers_.push_back(std::move(observer));
  if (!observers_.back().routing) return;
  trainer_.observe([this](const RoutingView& view) {
    for (const RunObserver& o : observers_)
      if (o.routing) o.routing(view);
  });
}

void Run::start(const DataId& data) {
  state_.data = data;
  state_.seed = config_.seed;
  model_.initialise(static_cast<uint64_t>(config_.seed));
  metrics_.emplace(folder_.path() / kMetricsFile, 0);
  save();
}

void Run::continue_from(const TrainingPoint& point) {
  const fs::path run = run_folder_of(point.folder), own = folder_.path() / kMetricsFile;
  std::error_code code;
  const bool elsewhere = !fs::equivalent(run, folder_.path(), code);
  const fs::path source = run / kMetricsFile;
  if (elsewhere && !run.empty() && fs::exists(source, code)) {
    fs::copy_file(source, own, fs::copy_options::overwrite_existing, code);
    if (code)
      throw error(ErrorKind::resource, "cannot copy {} to {}: {}", source.string(), own.string(),
                  code.message());
  }
  restore(point);
  // Other checkpoints stay where they are.
  if (elsewhere && state_.best_step != state_.step) {
    state_.best_step = -1;
    state_.best = TrainerState().best;
  }
  if (!fs::is_directory(rewind_folder(), code)) state_.rewind_step = state_.step;
  saved_ = to_json(state_);
  progress_.continued(state_.best);
  // The next resumption must find this checkpoint, with the options of now.
  const Checkpoint& c = point.checkpoint;
  if (fs::equivalent(folder_.latest(), point.folder, code) &&
      to_json(c.model, c.training) == to_json(model_.config(), config_))
    return;
  saved_.clear();
  save();
}

void Run::restore(const TrainingPoint& point) {
  point.checkpoint.copy_to(model_.parameters());
  trainer_.optimizer().load(point.optimizer, point.state.step);
  trainer_.set_attempt(point.state.attempt);
  trainer_.remember(point.state.losses);
  state_ = point.state;
  state_.seed = config_.seed;
  metrics_.emplace(folder_.path() / kMetricsFile, state_.metrics_rows);
  state_.metrics_rows = metrics_->rows();
}

// As the reference does, evaluates before every step that eval_interval divides and before the last.
int Run::run() {
  if (state_.step == 0 && !finished()) progress_.first_loss(trainer_.peek_loss(0));
  for (;;) {
    const bool pause = finished() || requests_.stop() || evaluation_due() || sample_due() || checkpoint_due();
    if (!collect(pause)) continue;
    if (finished() || requests_.stop()) break;
    const bool best = evaluation_due() && evaluate();
    if (requests_.stop() || finished()) break;
    if (sample_due()) save_sample();
    if (best || (checkpoint_due() && sound())) save_due();
    trainer_.enter(state_.step);
    ++state_.step;
    if (requests_.save()) {
      collect(true);
      save();
    }
  }
  collect(true);
  progress_.finish();
  trainer_.release_activations();
  save();
  return requests_.stop();
}

bool Run::out_of_patience() const {
  return config_.patience > 0 && state_.evaluations_since_best >= config_.patience;
}

std::optional<MetricRow> Run::kept_evaluation() const {
  if (state_.evaluated != state_.step || !metrics_) return std::nullopt;
  const std::optional<MetricRow>& row = metrics_->last_kept();
  return row && row->step == state_.step ? row : std::nullopt;
}

bool Run::finished() const {
  return state_.step >= config_.max_iters || out_of_patience();
}

bool Run::evaluation_due() const {
  const bool due = state_.step % config_.eval_interval == 0 || state_.step == config_.max_iters - 1;
  return due && state_.evaluated != state_.step;
}

bool Run::sample_due() const {
  return options_.sample_interval > 0 && state_.step > 0 && state_.step % options_.sample_interval == 0;
}

bool Run::checkpoint_due() const {
  const int64_t interval = options_.save_interval > 0 ? options_.save_interval : config_.eval_interval;
  const bool last = options_.save_interval == 0 && state_.step == config_.max_iters - 1;
  return state_.step > 0 && (state_.step % interval == 0 || last);
}

// A step that was skipped casts doubt on the weights, and so does a loss that is no number.
bool Run::sound() const {
  return state_.losses.skipped == 0 &&
         (state_.evaluated != state_.step || std::isfinite(state_.evaluation.validation));
}

bool Run::evaluate() {
  progress_.evaluating();
  const auto start = std::chrono::steady_clock::now();
  const EvalStats eval = trainer_.evaluate(state_.step, requests_.stop);
  trainer_.release_activations();  // room for what observers draw
  if (requests_.stop()) return false;
  const EvalReport result{state_.step, eval.train, eval.validation, seconds_since(start),
                          options_.tokens_per_character};
  report(row_of(result));
  progress_.evaluation(result);
  state_.evaluated = state_.step;
  state_.evaluation = eval;
  if (state_.step == 0) return false;  // nothing is learned yet
  const bool best = eval.validation < state_.best;
  if (best) {
    state_.best = eval.validation;
    state_.best_step = state_.step;
  }
  if (best)
    state_.evaluations_since_best = 0;
  else if (std::isfinite(eval.validation))  // else the next steps will be skipped
    ++state_.evaluations_since_best;
  return best;
}

bool Run::collect(bool wait) {
  while (const auto done = trainer_.next(wait)) {
    note(*done);
    const LossHistory& losses = state_.losses;
    const bool last = done->step + 1 == config_.max_iters;
    if (losses.skipped < config_.max_skips && (!last || losses.finite)) continue;
    while (trainer_.next(true)) {  // what was entered since is void
    }
    state_.step = done->step + 1;
    rewind_or_give_up();
    return false;
  }
  return true;
}

void Run::note(const StepStats& stats) {
  state_.losses = stats.history;
  const StepReport done{stats.step,
                        config_.max_iters,
                        stats.loss,
                        learning_rate_at(config_, stats.step),
                        stats.grad_norm,
                        stats.seconds,
                        config_.accumulate * config_.batch_size * model_.config().block_size,
                        stats.busiest_over_mean,
                        stats.dropped_share};
  MetricRow row = row_of(done);
  if (stats.verdict != Verdict::good) row.values.emplace_back("skipped", 1);
  report(row);
  progress_.step(done);
  if (stats.verdict == Verdict::good) return;
  log_event(fmt::format("step {}: loss {:.4f}, gradient norm {:.4g}{}: skipped, {} in a row", stats.step,
                        stats.loss, stats.grad_norm,
                        stats.verdict == Verdict::spike
                            ? fmt::format(", {:.1f} deviations above the mean", stats.deviations)
                            : "",
                        state_.losses.skipped));
}

void Run::rewind_or_give_up() {
  if (state_.rewinds >= config_.max_rewinds)
    throw error(
        ErrorKind::diverged,
        "training diverged: {} steps skipped in a row up to step {} after {} rewinds; the model of step {} "
        "is in {}, what happened in {}; lower --learning-rate {} or set --grad-clip",
        state_.losses.skipped, state_.step - 1, state_.rewinds, state_.rewind_step, rewind_folder().string(),
        (folder_.path() / kEvents).string(), config_.learning_rate);
  const int64_t from = state_.step, attempt = state_.attempt + 1, rewinds = state_.rewinds + 1;
  restore(load_training_point(rewind_folder()));
  saved_ = to_json(state_);
  state_.attempt = attempt;
  state_.rewinds = rewinds;
  trainer_.set_attempt(attempt);
  state_.losses.skipped = 0;
  state_.losses.finite = true;
  trainer_.remember(state_.losses);
  for (const RunObserver& o : observers_)
    if (o.rewound) o.rewound(state_.step);
  log_event(
      fmt::format("step {}: back to the checkpoint of step {}, and on with other batches; rewind {} of {}",
                  from, state_.step, rewinds, config_.max_rewinds));
}

fs::path Run::rewind_folder() const {
  return folder_.path() / step_name(state_.rewind_step);
}

void Run::report(const MetricRow& row) {
  metrics_->append(row);
  for (const RunObserver& o : observers_)
    if (o.row) o.row(row);
}

// What was saved on request must not matter: a rewind goes back to a checkpoint that was due.
void Run::save_due() {
  if (sound() && state_.step > state_.rewind_step) {
    state_.rewind_step = state_.step;
    state_.rewinds = 0;
  }
  save();
}

void Run::save() {
  state_.metrics_rows = metrics_->rows();
  if (to_json(state_) == saved_) return;
  metrics_->sync();
  Metadata notes = {{"step", std::to_string(state_.step)}};
  if (state_.evaluated >= 0) {
    notes["eval_step"] = std::to_string(state_.evaluated);
    notes["train_loss"] = fmt::format("{:.6f}", state_.evaluation.train);
    notes["val_loss"] = fmt::format("{:.6f}", state_.evaluation.validation);
  }
  const TrainingFiles more{trainer_.optimizer().state(), state_};
  folder_.save(state_.step, state_.best_step, [&](const fs::path& to) {
    return save_checkpoint(to, model_.config(), config_, tokenizer_, model_.parameters(), notes, &more);
  });
  saved_ = to_json(state_);
  for (const RunObserver& o : observers_)
    if (o.saved) o.saved(folder_.latest(), state_.step);
  folder_.prune(options_.keep, state_.rewind_step);
}

std::string Run::sample() const {
  try {
    Generator generator(model_, {}, static_cast<uint64_t>(config_.seed));
    generator.feed(default_prompt(tokenizer_));
    std::string text;
    Utf8Stream characters;
    for (int i = 0; i < kSampleTokens; ++i) text += characters.push(tokenizer_.decode(generator.next()));
    return text + characters.finish();
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::checkpoint) throw;
    throw error(ErrorKind::diverged, "the model of step {} writes nothing: {}; lower --learning-rate {}",
                state_.step, e.what(), config_.learning_rate);
  }
}

void Run::save_sample() const {
  const fs::path folder = folder_.path() / "samples";
  create_folder(folder);
  try {
    write_file(folder / (step_name(state_.step) + ".txt"), sample() + "\n");
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::diverged) throw;
    log_event(e.what());
  }
}

void Run::log_event(const std::string& line) const {
  progress_.note(line);
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  LogFile(folder_.path() / kEvents, LogFile::Existing::keep)
      .append(as_bytes(fmt::format("{:%Y-%m-%dT%H:%M:%SZ} {}\n", fmt::gmtime(now), line)));
}

}  // namespace moe
