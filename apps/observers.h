#pragma once
// Who looks on while train_moe trains: the trackers (--tensorboard, --mlflow) and the pictures (routing.jsonl
// and report.html in the run's folder, unless --no-report). None of them can stop a run.

#include <optional>
#include <string>

#include "apps/options.h"
#include "model/report_source.h"
#include "model/tracking.h"

namespace moe {

class Observers {
 public:
  // For a run that has been started or continued, whose next step is state().step. All must outlive the
  // observers. Throws as Tracking does.
  Observers(Run&, const TrainOptions&, const Tokenizer&, const Corpus&, const MoeLm&, Progress&,
            bool resumed);

  // The run has ended with this exit code.
  void finish(int exit_code);

 private:
  void look_at(const MetricRow&);
  void look_at(const RoutingView&);
  // Writes the window of routing that was seen, and the page when it is time or the last.
  void draw(bool page, bool last);
  // Calls `action`; should it fail, says so and draws nothing more.
  template <class Action>
  void try_to_draw(Action action);

  const MoeLm& model_;
  Progress& progress_;
  std::filesystem::path folder_;
  int64_t window_steps_;
  Tracking tracking_;
  RoutingStats routing_;
  std::optional<RoutingLog> routing_log_;  // while pictures are drawn
  std::optional<LiveReport> report_;
};

}  // namespace moe
