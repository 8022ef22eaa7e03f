#pragma once
// What a training run says while it goes: on a terminal one line rewritten in place, into a pipe or a file
// plain lines. Losses are in nats a token.

#include <cstdint>
#include <cstdio>
#include <functional>
#include <numbers>
#include <string>
#include <string_view>

namespace moe {

// One training step, done.
struct StepReport {
  int64_t step = 0;       // counted from 0
  int64_t max_iters = 0;  // steps of the whole run
  double loss = 0;        // cross-entropy of the batch, nats a token
  double lr = 0;
  double grad_norm = 0;          // before clipping
  double seconds = 0;            // this step took
  int64_t tokens = 0;            // this step trained on
  double busiest_over_mean = 0;  // assignments of the busiest expert over the mean of all
  double dropped_share = 0;      // of all assignments, in [0, 1]
};

// One evaluation, done.
struct EvalReport {
  int64_t step = 0;
  double train = 0, val = 0;  // mean cross-entropy, nats a token
  double seconds = 0;         // the evaluation took
  double tokens_per_character = 1;

  double bits_per_character(double nats) const { return nats / std::numbers::ln2 * tokens_per_character; }
};

// How a stream wants to be written to.
struct TerminalStyle {
  bool live = false;   // lines can be rewritten in place
  bool color = false;  // and colours are welcome
  int columns = 0;     // longest live line; 0: unknown, never cut

  // live when `stream` is a terminal that is not "dumb"; color unless NO_COLOR is set (no-color.org).
  static TerminalStyle of(std::FILE* stream);
};

class Progress {
 public:
  using Clock = std::function<double()>;  // seconds since any fixed moment

  // eval_interval only serves the estimate of the time left.
  Progress(std::FILE* out, TerminalStyle style, int64_t eval_interval, Clock clock = {});
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // The run is a continued one, whose lowest validation loss so far is `best`.
  void continued(double best);
  // The loss of step 0's batch before anything is learned: the first sign of life.
  void first_loss(double loss);
  // Live: rewrites the line. Plain: prints the first step, then whenever a tenth of the run or half a minute
  // has passed since the last line.
  void step(const StepReport& report);
  // Live: a word in place of the live line while an evaluation runs. Plain: nothing.
  void evaluating();
  // Always one line that stays.
  void evaluation(const EvalReport& report);
  // A line that stays, above the live one.
  void note(std::string_view line);
  // Takes the live line away.
  void finish();
  // The first error (errno) by which something of all this was lost; 0 when there was none. A reader that
  // went away is none: it knows.
  int lost() const { return lost_; }

 private:
  void write(std::string_view text);
  void print_line(std::string_view line);
  void rewrite(std::string_view line);

  std::FILE* out_;
  TerminalStyle style_;
  int64_t eval_interval_;
  Clock clock_;
  double step_seconds_ = 0;  // running mean
  double eval_seconds_ = 0;  // of the last evaluation
  double best_ = 0;          // lowest validation loss so far
  int64_t steps_seen_ = 0, evals_seen_ = 0;
  double last_line_time_ = 0;
  int64_t last_line_step_ = 0;
  bool live_line_shown_ = false;
  int lost_ = 0;
};

// The line of a step: "step 12/5000  loss 3.1416  lr 0.001  grad 1.23  310 ms  1650 tok/s  busiest 1.4x
// dropped 0.0%"
std::string describe(const StepReport& report, double step_seconds);
// "step    500  train 2.2743  val 2.3040  bits/char 3.28 train, 3.32 val"
std::string describe(const EvalReport& report);
// "3 h 05 min", "12 min 40 s", "8 s"
std::string describe_duration(double seconds);

}  // namespace moe
