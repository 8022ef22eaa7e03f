#include "model/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>

namespace moe {
namespace {

constexpr double kPlainSeconds = 30;  // the longest silence in a pipe while steps are made
constexpr double kMeanWeight = 0.1;   // of the newest step in the running mean of step times

constexpr std::string_view kReturnAndClear = "\r\x1b[K";
constexpr std::string_view kDim = "\x1b[2m", kBold = "\x1b[1m", kPlain = "\x1b[0m";

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value && *value;
}

}  // namespace

TerminalStyle TerminalStyle::of(std::FILE* stream) {
  TerminalStyle style;
  const char* term = std::getenv("TERM");
  style.live = isatty(fileno(stream)) && !(term && std::string_view(term) == "dumb");
  style.color = style.live && !is_set("NO_COLOR");
  winsize size{};
  if (style.live && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0) style.columns = size.ws_col;
  return style;
}

std::string describe_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto s = static_cast<int64_t>(std::ceil(std::min(seconds, 1e12)));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  if (s < 48 * 3600) return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
  return fmt::format("{} days", s / 86400);
}

std::string describe(const StepReport& r, double step_seconds) {
  const double rate = step_seconds > 0 ? static_cast<double>(r.tokens) / step_seconds : 0;
  const double ms = 1e3 * step_seconds;
  return fmt::format(
      "step {}/{}  loss {:.4f}  lr {:.3g}  grad {:.2f}  {:.{}f} ms  {:.0f} tok/s  busiest {:.1f}x  dropped "
      "{:.1f}%",
      r.step, r.max_iters, r.loss, r.lr, r.grad_norm, ms, ms < 10 ? 2 : 0, rate, r.busiest_over_mean,
      100 * r.dropped_share);
}

std::string describe(const EvalReport& r) {
  return fmt::format("step {:6}  train {:.4f}  val {:.4f}  bits/char {:.2f} train, {:.2f} val", r.step,
                     r.train, r.val, r.bits_per_character(r.train), r.bits_per_character(r.val));
}

Progress::Progress(std::FILE* out, TerminalStyle style, int64_t eval_interval, Clock clock)
    : out_(out),
      style_(style),
      eval_interval_(std::max<int64_t>(eval_interval, 1)),
      clock_(clock ? std::move(clock) : Clock(steady_seconds)) {
  last_line_time_ = clock_();
}

void Progress::first_loss(double loss) {
  print_line(fmt::format("step {:6}  loss {:.4f} of the first batch, before training", 0, loss));
}

void Progress::continued(double best) {
  best_ = best;
  evals_seen_ = 1;
}

void Progress::step(const StepReport& r) {
  step_seconds_ = steps_seen_ == 0 ? r.seconds : (1 - kMeanWeight) * step_seconds_ + kMeanWeight * r.seconds;
  ++steps_seen_;
  const auto steps_left = static_cast<double>(r.max_iters - r.step - 1);
  const double evals_left = std::ceil(steps_left / static_cast<double>(eval_interval_));
  const std::string line = describe(r, step_seconds_) + "  left " +
                           describe_duration(steps_left * step_seconds_ + evals_left * eval_seconds_);
  if (style_.live) return rewrite(line);
  const bool tenth = 10 * (r.step - last_line_step_) >= r.max_iters;
  if (steps_seen_ > 1 && !tenth && clock_() - last_line_time_ < kPlainSeconds) return;
  print_line(line);
  last_line_step_ = r.step;
}

void Progress::evaluating() {
  if (style_.live) rewrite("evaluating ...");
}

void Progress::evaluation(const EvalReport& r) {
  eval_seconds_ = r.seconds;
  const bool best = evals_seen_ > 0 && r.val < best_;
  best_ = evals_seen_ == 0 ? r.val : std::min(best_, r.val);
  ++evals_seen_;
  const std::string line = describe(r) + (best ? "  best" : "");
  print_line(style_.color && best ? fmt::format("{}{}{}", kBold, line, kPlain) : line);
  last_line_step_ = r.step;
}

void Progress::note(std::string_view line) {
  print_line(line);
}

void Progress::finish() {
  if (live_line_shown_) write(kReturnAndClear);
  live_line_shown_ = false;
}

void Progress::write(std::string_view text) {
  const bool whole = std::fwrite(text.data(), 1, text.size(), out_) == text.size();
  if ((std::fflush(out_) != 0 || !whole) && lost_ == 0 && errno != EPIPE) lost_ = errno;
}

void Progress::print_line(std::string_view line) {
  write(fmt::format("{}{}\n", live_line_shown_ ? kReturnAndClear : "", line));
  live_line_shown_ = false;
  last_line_time_ = clock_();
}

void Progress::rewrite(std::string_view line) {
  // A line that wraps could not be taken back; the last column is left free.
  if (style_.columns > 1) line = line.substr(0, static_cast<size_t>(style_.columns - 1));
  write(fmt::format("{}{}{}{}", kReturnAndClear, style_.color ? kDim : "", line, style_.color ? kPlain : ""));
  live_line_shown_ = true;
}

}  // namespace moe
