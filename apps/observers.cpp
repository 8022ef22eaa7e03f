#include "apps/observers.h"

#include <algorithm>
#include <exception>

#include "apps/run_app.h"
#include "model/routing_log.h"

namespace moe {
namespace {

constexpr int64_t kWindows = 200;  // of routing in a whole run: enough for a heatmap's width

}  // namespace

Observers::Observers(Run& run, const TrainOptions& o, const Tokenizer& tokenizer, const Corpus& corpus,
                     const MoeLm& model, Progress& progress, bool resumed)
    : model_(model),
      progress_(progress),
      folder_(o.out),
      window_steps_(std::max<int64_t>(1, o.training.max_iters / kWindows)),
      tracking_(o.tracking, o.out, tracking_params(o.model, o.training, name_of(model.device())),
                run.state().step, resumed, run.kept_evaluation(),
                [&progress](const std::string& line) { progress.note(line); }) {
  RunObserver observer;
  observer.row = [this](const MetricRow& row) { look_at(row); };
  observer.rewound = [this, &run](int64_t step) {
    tracking_.restart(step, run.kept_evaluation());
    routing_.take();
    if (routing_log_) try_to_draw([&] { routing_log_.emplace(folder_ / kRoutingFile, step); });
  };
  if (o.report) {
    try_to_draw([&] {
      routing_log_.emplace(folder_ / kRoutingFile, run.state().step);
      report_.emplace(folder_, describe(o.model), symbols_of(tokenizer),
                      validation_passage(corpus, o.model, o.text));
    });
    observer.routing = [this](const RoutingView& view) { look_at(view); };
    // A run goes on from a checkpoint: windows must not reach across one.
    observer.saved = [this](const std::filesystem::path&, int64_t) { draw(false, false); };
  }
  run.attach(std::move(observer));
}

void Observers::look_at(const MetricRow& row) {
  tracking_.log(row);
  const bool evaluation = std::ranges::any_of(row.values, [](auto& v) { return v.first == "val_loss"; });
  if (evaluation || (row.step + 1) % window_steps_ == 0) draw(evaluation, false);
}

void Observers::look_at(const RoutingView& view) {
  if (routing_log_) routing_.observe(view.step, view.routing, view.tokens.span<int32_t>());
}

void Observers::draw(bool page, bool last) {
  if (!routing_log_) return;
  try_to_draw([&] {
    if (!routing_.empty()) routing_log_->append(routing_.take());
    if (page) report_->update(model_, last);
  });
}

template <class Action>
void Observers::try_to_draw(Action action) {
  try {
    action();
  } catch (const std::exception& e) {
    progress_.note(fmt::format("pictures: {}; none are drawn from here on", e.what()));
    routing_log_.reset();
    report_.reset();
  }
}

void Observers::finish(int exit_code) {
  draw(true, true);
  if (report_) progress_.note("report  " + (folder_ / "report.html").string());
  tracking_.finish(exit_code, {"config.json", "tokenizer.json", "model.safetensors"});
}

}  // namespace moe
