// Whole training runs on Device::cuda, which is the executor here, beside the same runs on the CPU.

#include <cmath>

#include "model/generate.h"
#include "tests/catch.h"
#include "tests/cuda/device_run.h"
#include "tests/cuda/test_options.h"
#include "tests/in_precision.h"

namespace moe::test {
namespace {

struct Case {
  RouterKind router;
  double capacity_factor;
  int64_t accumulate;

  std::string name() const {
    return fmt::format("router {}, capacity factor {}, accumulate {}", words_of<RouterKind>()[size_t(router)],
                       capacity_factor, accumulate);
  }
};

// Routers and capacities in all pairs, each with one and with two batches a step.
constexpr Case kCases[] = {{RouterKind::noisy_topk, 0, 1},
                           {RouterKind::noisy_topk, 1, 2},
                           {RouterKind::topk, 0, 2},
                           {RouterKind::topk, 1, 1}};

// The experts that every layer chose, pass by pass.
class Choices {
 public:
  explicit Choices(Trainer& trainer) {
    trainer.observe([this](const RoutingView& view) {
      for (const LayerRouting& layer : view.routing) {
        const auto expert = layer.router.gating.expert.span<int32_t>();
        all_.insert(all_.end(), expert.begin(), expert.end());
      }
    });
  }
  const std::vector<int32_t>& all() const { return all_; }

 private:
  std::vector<int32_t> all_;
};

}  // namespace

// The steps of one run on the GPU are one graph each; those of the other are launched kernel by kernel and
// looked at.
TEST_CASE("steps of training on the GPU are those of the CPU, and choose the same experts",
          "[cuda][training]") {
  for (const Case& c : kCases) {
    INFO(c.name());
    const ModelConfig config = device_config(c.router, c.capacity_factor);
    const TrainConfig train = device_training(c.router, c.accumulate);
    DeviceRun cpu(config, train, Device::cpu), cuda(config, train, Device::cuda),
        direct(config, train, Device::cuda);
    const Choices cpu_choices(cpu.trainer), gpu_choices(direct.trainer);
    const int64_t steps = test_options().compared_steps;
    cpu.run(0, steps);
    cuda.run(0, steps);
    REQUIRE(cuda.steps.size() == cpu.steps.size());
    for (int64_t i = 0; i < steps; ++i) {
      const StepStats &want = cpu.steps[static_cast<size_t>(i)], &got = cuda.steps[static_cast<size_t>(i)];
      INFO("step " << i);
      CHECK(got.step == i);
      CHECK(std::abs(got.loss - want.loss) <= 1e-5 * want.loss);
      CHECK(std::abs(got.auxiliary - want.auxiliary) <= 1e-5 * want.auxiliary);
      CHECK(got.grad_norm == Approx(want.grad_norm).epsilon(1e-4));
      CHECK(got.busiest_over_mean == want.busiest_over_mean);
      CHECK(got.dropped_share == want.dropped_share);
      CHECK(got.verdict == Verdict::good);
      CHECK(direct.trainer.compute_gradients(i).loss == got.loss);
      direct.trainer.update();
    }
    CHECK(gpu_choices.all() == cpu_choices.all());
    CHECK(direct.weights() == cuda.weights());
    CHECK(cpu.steps.back().loss != cpu.steps.front().loss);
  }
}

// With k = E there is no choice that rounding could turn. docs/numerics.md derives the tolerance.
TEST_CASE("training in tf32 and bf16 keeps to the losses of fp32 as closely as rounding lets it",
          "[cuda][training]") {
  ModelConfig c = device_config(RouterKind::noisy_topk);
  c.top_k = c.num_experts;
  TrainConfig t = device_training(RouterKind::noisy_topk);
  t.importance_loss = t.load_loss = t.balance_loss = t.z_loss = 0;
  DeviceRun exact(c, t, Device::cuda);
  double largest = 0;
  for (const float x : infer_logits(exact.model, token_batch(c, 4, c.block_size, 1)))
    largest = std::max(largest, std::abs(static_cast<double>(x)));
  const int64_t steps = test_options().compared_steps;
  exact.run(0, steps);
  for (const auto& [precision, rounding] : {std::pair{Precision::tf32, 0x1p-11}, {Precision::bf16, 0x1p-8}}) {
    const InPrecision computing(precision);
    DeviceRun run(c, t, Device::cuda);
    run.run(0, steps);
    const double forward = 2 * rounding * std::sqrt(7.0 * static_cast<double>(c.n_layer) + 1);
    const double change = std::min(2.0, std::sqrt(13 * 3 * forward));
    double tolerance = 2 * largest * forward;
    for (size_t i = 0; i < run.steps.size(); ++i) {
      INFO(name_of(precision) << ", step " << i);
      CHECK(std::abs(run.steps[i].loss - exact.steps[i].loss) <= tolerance);
      CHECK(run.steps[i].loss != exact.steps[i].loss);
      tolerance += 4 * change * t.learning_rate * exact.steps[i].grad_norm;
    }
  }
}

TEST_CASE("an evaluation on the GPU is the CPU's, of samples and of the whole split",
          "[cuda][training][host]") {
  for (const bool full : {false, true}) {
    ModelConfig c = device_config(RouterKind::noisy_topk);
    TrainConfig t = device_training(RouterKind::noisy_topk);
    t.eval_full = full;
    DeviceRun cpu(c, t, Device::cpu), cuda(c, t, Device::cuda);
    cuda.run(0, 3);  // the graph's memory is the evaluation's too
    const Values after = cuda.weights();
    cuda.model.initialise(3);
    const EvalStats want = cpu.trainer.evaluate(5), got = cuda.trainer.evaluate(5);
    CHECK(got.train == Approx(want.train).epsilon(1e-5));
    CHECK(got.validation == Approx(want.validation).epsilon(1e-5));
    CHECK(cuda.trainer.peek_loss(9) == Approx(cpu.trainer.peek_loss(9)).epsilon(1e-5));

    DeviceRun undisturbed(c, t, Device::cuda);
    undisturbed.run(0, 6);
    DeviceRun disturbed(c, t, Device::cuda);
    disturbed.run(0, 3);
    disturbed.trainer.evaluate(3);
    disturbed.trainer.peek_loss(3);
    disturbed.run(3, 6);
    CHECK(disturbed.weights() == undisturbed.weights());
    CHECK(after != undisturbed.weights());
  }
}

TEST_CASE("a step that must not be made leaves the GPU's weights alone, and the host hears of it",
          "[cuda][training]") {
  const ModelConfig c = device_config(RouterKind::noisy_topk);
  TrainConfig t = device_training(RouterKind::noisy_topk);
  DeviceRun run(c, t, Device::cuda);
  run.run(0, 3);
  // A history that makes the next loss a spike, then one that does not.
  const Values before = run.weights();
  run.trainer.remember({.mean = 0.01, .variance = 0, .losses = 500});
  run.run(3, 5);
  CHECK(run.weights() == before);
  run.trainer.remember({});
  run.run(5, 6);
  CHECK(run.weights() != before);
  REQUIRE(run.steps.size() == 6);
  CHECK(run.steps[2].verdict == Verdict::good);
  CHECK(run.steps[3].verdict == Verdict::spike);
  CHECK(run.steps[4].history.skipped == 2);
  CHECK(run.steps[5].verdict == Verdict::good);
  CHECK(run.steps[5].history.losses == 1);

  t.learning_rate = 1e30;
  DeviceRun diverging(c, t, Device::cuda);
  diverging.run(0, 4);
  CHECK(diverging.steps[0].verdict == Verdict::good);
  CHECK(diverging.steps[3].verdict == Verdict::not_finite);
  CHECK(diverging.steps[3].history.skipped == 3);
}

TEST_CASE("another attempt and another step draw other batches on the GPU too", "[cuda][training]") {
  const ModelConfig c = device_config(RouterKind::topk);
  DeviceRun cpu(c, device_training(RouterKind::topk, 2), Device::cpu),
      cuda(c, device_training(RouterKind::topk, 2), Device::cuda);
  for (DeviceRun* run : {&cpu, &cuda}) {
    run->run(0, 3);
    run->trainer.set_attempt(1);
    run->run(3, 5);
  }
  for (size_t i = 0; i < 5; ++i) CHECK(cuda.steps[i].loss == Approx(cpu.steps[i].loss).epsilon(1e-5));
}

TEST_CASE("text from the GPU is the CPU's, drawn and greedy, before and after the window slides",
          "[cuda][generate]") {
  const ModelConfig c = device_config(RouterKind::noisy_topk);
  const MoeLm cpu(c, DType::f32, Device::cpu, false), cuda(c, DType::f32, Device::cuda, false);
  cpu.initialise(5);
  cuda.initialise(5);
  for (const double temperature : {0.0, 1.0}) {
    SamplerConfig sampler;
    sampler.temperature = temperature;
    Generator want(cpu, sampler, 7), got(cuda, sampler, 7);
    const std::vector<int32_t> prompt{1, 2, 3};
    want.feed(prompt);
    got.feed(prompt);
    for (int64_t i = 0; i < 2 * c.block_size; ++i) {
      INFO("token " << i);
      CHECK(got.next() == want.next());
      CHECK(std::ranges::equal(got.experts(), want.experts()));
    }
  }
}

}  // namespace moe::test
