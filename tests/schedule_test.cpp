// Learning rates over a run, and the judge of its losses.

#include "model/schedule.h"

#include <cmath>
#include <limits>

#include "model/loss_guard.h"
#include "tests/catch.h"

using namespace moe;

namespace {

TrainConfig config_of(Schedule schedule) {
  TrainConfig t;
  t.max_iters = 100;
  t.learning_rate = 1;
  t.schedule = schedule;
  t.warmup_iters = 9;
  t.min_learning_rate = schedule == Schedule::constant ? 0 : 0.1;
  return t;
}

StepStats stats_of(double loss) {
  StepStats s;
  s.loss = loss;
  return s;
}

}  // namespace

TEST_CASE("the default learning rate is the same in every step, to the bit", "[schedule]") {
  const TrainConfig t;
  for (int64_t step = 0; step < t.max_iters; ++step) REQUIRE(learning_rate_at(t, step) == t.learning_rate);
}

TEST_CASE("every schedule warms up in equal steps, is full at their end, and ends at the minimum",
          "[schedule]") {
  for (const Schedule schedule : {Schedule::constant, Schedule::linear, Schedule::cosine, Schedule::wsd}) {
    const TrainConfig t = config_of(schedule);
    CAPTURE(words_of<Schedule>()[static_cast<size_t>(schedule)]);
    for (int64_t step = 0; step < 9; ++step)
      CHECK(learning_rate_at(t, step) == Approx(0.1 * static_cast<double>(step + 1)));
    CHECK(learning_rate_at(t, 9) == 1);
    CHECK(learning_rate_at(t, 99) == Approx(schedule == Schedule::constant ? 1 : 0.1));
    for (int64_t step = 9; step < 99; ++step)
      CHECK(learning_rate_at(t, step + 1) <= learning_rate_at(t, step));
  }
}

TEST_CASE("linear and cosine are half way in the middle, wsd is full until it decays", "[schedule]") {
  const int64_t middle = 54;  // of 9 and 99
  CHECK(learning_rate_at(config_of(Schedule::linear), middle) == Approx(0.55));
  CHECK(learning_rate_at(config_of(Schedule::cosine), middle) == Approx(0.55));
  CHECK(learning_rate_at(config_of(Schedule::cosine), 24) ==
        Approx(0.1 + 0.45 * (1 + std::cos(std::acos(-1.0) / 6))));
  TrainConfig t = config_of(Schedule::wsd);
  CHECK(learning_rate_at(t, 89) == 1);
  CHECK(learning_rate_at(t, 90) == Approx(0.91));  // a tenth of the steps decays
  t.decay_iters = 45;
  CHECK(learning_rate_at(t, 54) == 1);
  CHECK(learning_rate_at(t, 55) == Approx(0.98));
}

TEST_CASE("schedules of runs that are shorter than their parts stay within their bounds", "[schedule]") {
  for (const Schedule schedule : {Schedule::constant, Schedule::linear, Schedule::cosine, Schedule::wsd})
    for (const int64_t steps : {0, 1, 2, 9, 10, 11}) {
      TrainConfig t = config_of(schedule);
      t.max_iters = steps;
      for (int64_t step = 0; step < 20; ++step) {
        CHECK(learning_rate_at(t, step) > 0.0999999);
        CHECK(learning_rate_at(t, step) <= 1);
      }
    }
}

TEST_CASE("a loss that is no number or infinite is refused, and so is a gradient", "[guard]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (int part = 0; part < 3; ++part)
    for (const double bad : {kInfinity, -kInfinity, std::nan("")}) {
      LossGuard guard(0);
      StepStats s = stats_of(2);
      (part == 0 ? s.loss : part == 1 ? s.auxiliary : s.grad_norm) = bad;
      CHECK(guard.judge(s) == Verdict::not_finite);
      CHECK(guard.judge(s) == Verdict::not_finite);
      CHECK(guard.state().skipped == 2);
      CHECK(!guard.state().finite);
      CHECK(guard.judge(stats_of(2)) == Verdict::good);
      CHECK(guard.state().skipped == 0);
    }
}

TEST_CASE("a loss far above the running mean is a spike, one far below is not", "[guard]") {
  LossGuard guard(10);
  CHECK(guard.judge(stats_of(50)) == Verdict::good);  // nothing to compare with yet
  for (int i = 0; i < 2000; ++i) CHECK(guard.judge(stats_of(2 + 0.1 * (i % 2 ? 1 : -1))) == Verdict::good);
  CHECK(guard.state().mean == Approx(2).margin(0.01));
  CHECK(std::sqrt(guard.state().variance) == Approx(0.1).margin(0.01));
  const LossGuard::State before = guard.state();
  CHECK(guard.judge(stats_of(3.2)) == Verdict::spike);
  CHECK(guard.state().mean == before.mean);  // it leaves no trace in the mean
  CHECK(guard.judge(stats_of(2.9)) == Verdict::good);
  CHECK(guard.judge(stats_of(0)) == Verdict::good);

  LossGuard off(0);
  off.restore(before);
  CHECK(off.judge(stats_of(1e6)) == Verdict::good);
}

TEST_CASE("losses that hardly differ make no alarm of the smallest rise", "[guard]") {
  LossGuard guard(10);
  for (int i = 0; i < 500; ++i) guard.judge(stats_of(0.001));
  CHECK(guard.judge(stats_of(0.15)) == Verdict::good);
  CHECK(guard.judge(stats_of(0.25)) == Verdict::spike);
}
