#pragma once
// A training run from its first step to its last: the loop around the Trainer, and all that it leaves in a
// folder (model/run_folder.h). Interrupted at any moment and resumed, it ends in the same bits.
//
// On a GPU the run enters steps before it knows what became of those before, and takes note of each when it
// is over: no later than before anything looks at the weights, be it an evaluation, a checkpoint or a sample.
// So it all comes out as if each step had been waited for.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/metrics_log.h"
#include "model/progress.h"
#include "model/run_folder.h"
#include "model/trainer.h"

namespace moe {

// What no number of the run depends on, but for where a rewind goes back to.
struct RunOptions {
  int64_t keep = 2;                 // newest checkpoints to keep besides latest and best; 0: all
  int64_t save_interval = 0;        // steps between checkpoints; 0: one with each evaluation
  int64_t sample_interval = 0;      // steps between samples of text; 0: none
  double tokens_per_character = 1;  // of the text, for losses in bits per character
};

// Somebody who looks on: a tracker, a picture. Each member may be left out. None may change the run; they run
// between two steps, on the thread that trains.
struct RunObserver {
  // A row of numbers, of a step or an evaluation, once it is in metrics.jsonl. Rows come in order of their
  // steps.
  std::function<void(const MetricRow&)> row;
  // The run goes back to `step`: its rows and those after it are void, and will come anew, but for
  // kept_evaluation(), which holds.
  std::function<void(int64_t step)> rewound;
  // The routing of every batch of a step; on a GPU of every Trainer::kLookInterval-th step.
  std::function<void(const RoutingView&)> routing;
  // A checkpoint is complete.
  std::function<void(const std::filesystem::path& checkpoint, int64_t step)> saved;
};

// What the outside world asks of a run; looked at between steps, `stop` within evaluations too.
struct RunRequests {
  std::function<int()> stop = [] { return 0; };       // not 0: save and end
  std::function<bool()> save = [] { return false; };  // true: save now. Asking clears it
};

class Run {
 public:
  // All but the options must outlive the run. The model need not be initialised.
  Run(RunFolder&, const RunOptions&, const TrainConfig&, const Tokenizer&, const MoeLm&, Trainer&, Progress&,
      RunRequests);

  void attach(RunObserver observer);

  // One of these two comes first. start: initial weights, saved at once, so that what can go wrong with
  // saving shows now and a run always has a checkpoint. continue_from: the state of a checkpoint, of this
  // run's folder or another's; then that run's rows come along.
  void start(const DataId&);
  void continue_from(const TrainingPoint&);

  // Trains to the last step, to the end of patience, or until it is asked to stop; the state is saved then.
  // Returns what `stop` gave. Throws ErrorKind::resource when the run cannot save, ErrorKind::diverged when
  // it got nowhere after max_rewinds.
  int run();

  const TrainerState& state() const { return state_; }
  // Of a run that has just been continued or rewound: the row of the evaluation of state().step, when the
  // checkpoint was made behind it. It stands in metrics.jsonl and does not come again.
  std::optional<MetricRow> kept_evaluation() const;
  bool out_of_patience() const;
  // 250 tokens by the model as it is. Throws ErrorKind::diverged when its logits are no numbers.
  std::string sample() const;

 private:
  bool finished() const;
  bool evaluation_due() const;
  bool sample_due() const;
  bool checkpoint_due() const;  // by the number of the step alone
  bool sound() const;
  std::filesystem::path rewind_folder() const;
  bool evaluate();  // whether it is the best so far
  // Takes note of the steps that are over, of all that were entered if `wait`. False: they took the run back.
  bool collect(bool wait);
  void note(const StepStats&);
  void report(const MetricRow&);  // the one place that every row passes
  void save_due();
  void save();  // nothing when nothing has happened since the last time
  void save_sample() const;
  void restore(const TrainingPoint&);
  void rewind_or_give_up();
  void log_event(const std::string& line) const;

  RunFolder& folder_;
  RunOptions options_;
  const TrainConfig& config_;
  const Tokenizer& tokenizer_;
  const MoeLm& model_;
  Trainer& trainer_;
  Progress& progress_;
  RunRequests requests_;
  std::vector<RunObserver> observers_;
  std::optional<MetricsLog> metrics_;  // open once the run starts or goes on
  TrainerState state_;
  std::string saved_;  // the state of the last checkpoint, as JSON
};

}  // namespace moe
