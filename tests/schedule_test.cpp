// Learning rates over a run, and the judge of its losses.

#include "model/schedule.h"

#include <cmath>
#include <limits>

#include "kernels/training_step/training_step.h"
#include "tests/catch.h"

using namespace moe;
using kernels::Verdict;

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

// Steps of one layer with one expert and one token, whose losses are judged.
struct Guard {
  explicit Guard(double bound) { settings.spike_bound = bound; }
  Verdict judge(double loss, double auxiliary = 0, double grad_norm = 1) {
    memory.loss = loss;
    memory.auxiliary = auxiliary;
    memory.grad_norm = grad_norm;
    const int64_t one = 1;
    kernels::cpu::finish_step(settings, &one, &one, &memory);
    CHECK(memory.outcome.history == memory.history);
    return memory.outcome.verdict;
  }
  const kernels::LossHistory& history() const { return memory.history; }

  kernels::StepSettings settings{.layers = 1, .experts = 1, .passes = 1, .assignments = 1};
  kernels::StepMemory memory;
};

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

TEST_CASE("a loss that is no number or infinite is refused, and so is a gradient", "[guard][training_step]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (int part = 0; part < 3; ++part)
    for (const double bad : {kInfinity, -kInfinity, std::nan("")}) {
      Guard guard(0);
      const auto judge_bad = [&] {
        return guard.judge(part == 0 ? bad : 2, part == 1 ? bad : 0, part == 2 ? bad : 1);
      };
      CHECK(judge_bad() == Verdict::not_finite);
      CHECK(judge_bad() == Verdict::not_finite);
      CHECK(guard.history().skipped == 2);
      CHECK(!guard.history().finite);
      CHECK(guard.judge(2) == Verdict::good);
      CHECK(guard.history().skipped == 0);
    }
}

TEST_CASE("a loss far above the running mean is a spike, one far below is not", "[guard][training_step]") {
  Guard guard(10);
  CHECK(guard.judge(50) == Verdict::good);  // nothing to compare with yet
  for (int i = 0; i < 2000; ++i) CHECK(guard.judge(2 + 0.1 * (i % 2 ? 1 : -1)) == Verdict::good);
  CHECK(guard.history().mean == Approx(2).margin(0.01));
  CHECK(std::sqrt(guard.history().variance) == Approx(0.1).margin(0.01));
  const kernels::LossHistory before = guard.history();
  CHECK(guard.judge(3.2) == Verdict::spike);
  CHECK(guard.memory.outcome.deviations == Approx(12).margin(0.2));
  CHECK(guard.history().mean == before.mean);  // it leaves no trace in the mean
  CHECK(guard.judge(2.9) == Verdict::good);
  CHECK(guard.judge(0) == Verdict::good);

  Guard off(0);
  off.memory.history = before;
  CHECK(off.judge(1e6) == Verdict::good);
}

TEST_CASE("losses that hardly differ make no alarm of the smallest rise", "[guard][training_step]") {
  Guard guard(10);
  for (int i = 0; i < 500; ++i) guard.judge(0.001);
  CHECK(guard.judge(0.15) == Verdict::good);
  CHECK(guard.judge(0.25) == Verdict::spike);
}

TEST_CASE("the outcome of a step sums up its passes, layers and experts", "[training_step]") {
  using kernels::cpu::note_pass;
  // Two layers of three experts; the second layer has a capacity. Two passes.
  kernels::StepSettings s{.layers = 2, .experts = 3, .passes = 2, .assignments = 24, .grad_clip = 2};
  kernels::StepMemory memory;
  memory.grad_norm = 8;
  std::vector<int64_t> assigned(6, -1), kept(6, -1);
  const std::vector<int32_t> offsets[] = {{0, 1, 1, 6}, {0, 2, 4, 5}};
  const std::vector<int32_t> count[] = {{1, 0, 5}, {3, 2, 1}};
  for (const bool first : {true, false})
    for (int64_t l = 0; l < 2; ++l) {
      kernels::PlansOfLayers plans{.first = l, .count = 1};
      plans.offsets[0] = offsets[l].data();
      plans.assigned[0] = count[l].data();
      const float loss = first ? 3 : 4, auxiliary = 0.5;
      note_pass<float>(s, first, plans, l == 0 ? &loss : nullptr, first ? &auxiliary : nullptr, &memory,
                       assigned.data(), kept.data());
    }
  kernels::cpu::finish_step(s, assigned.data(), kept.data(), &memory);
  CHECK(assigned == std::vector<int64_t>{2, 0, 10, 6, 4, 2});
  CHECK(kept == std::vector<int64_t>{2, 0, 10, 4, 4, 2});
  CHECK(memory.outcome.loss == 3.5);
  CHECK(memory.outcome.auxiliary == 0.25);
  CHECK(memory.outcome.grad_norm == 8);
  CHECK(memory.outcome.grad_scale == 0.25);
  CHECK(memory.outcome.busiest_over_mean == 2.5);
  CHECK(memory.outcome.dropped_share == Approx(2.0 / 24));
}

TEST_CASE("each pass of a step has a seed, the first one the step's own", "[training_step]") {
  const kernels::StepInputs inputs{{.seed = 77, .step = 5}, 1e-3};
  RngMoment moments[3], others[3];
  kernels::cpu::step_seeds(3, 9, &inputs, moments);
  kernels::cpu::step_seeds(3, 8, &inputs, others);
  CHECK(moments[0].seed == 77);
  CHECK(moments[1].seed != moments[2].seed);
  CHECK(moments[1].seed != others[1].seed);
  for (const RngMoment& m : moments) CHECK(m.step == 5);
}
