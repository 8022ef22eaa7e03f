// What a step of training asks of the host and of the GPU once it is under way.

#include <numeric>

#include "tests/catch.h"
#include "tests/cuda/device_run.h"
#include "tests/simt/executor/counters.h"

namespace moe::test {
namespace {

// What work enters and does, all of it done.
template <class Work>
simt::Counters cost_of(DeviceRun& run, Work work) {
  run.collect(true);
  const simt::Counters before = simt::counters();
  work();
  const simt::Counters entered = simt::counters() - before;
  run.collect(true);  // only here does the host wait
  simt::Counters all = simt::counters() - before;
  all.host_syncs = entered.host_syncs;
  all.allocations = entered.allocations;
  return all;
}

// The launches of a step do not depend on any width, so that narrow layers stand for the default model's.
ModelConfig default_shape(int64_t layers) {
  ModelConfig c;
  c.vocab_size = 11;
  c.block_size = 4;
  c.n_embed = 16;
  c.n_layer = layers;
  return c;
}

simt::Counters cost_of_a_step(int64_t layers) {
  TrainConfig t;
  t.batch_size = 2;
  DeviceRun run(default_shape(layers), t, Device::cuda);
  run.run(0, 2);
  return cost_of(run, [&] { run.trainer.enter(2); });
}

}  // namespace

TEST_CASE("a steady step is one graph: no wait, no allocation, a few bytes to the GPU",
          "[simt][training][host]") {
  for (const int64_t accumulate : {1, 3}) {
    DeviceRun run(device_config(RouterKind::noisy_topk, 1),
                  device_training(RouterKind::noisy_topk, accumulate), Device::cuda);
    run.run(0, 2);
    constexpr int64_t kSteps = 5;
    static_assert(kSteps < GpuSteps::kMostAhead);
    const int64_t on_host = system_allocations();
    const simt::Counters cost = cost_of(run, [&] {
      for (int64_t i = 2; i < 2 + kSteps; ++i) {
        run.trainer.enter(i);
        run.collect(false);
      }
    });
    CHECK(cost.graph_launches == kSteps);
    CHECK(cost.host_syncs == 0);
    CHECK(cost.allocations == 0);
    CHECK(cost.frees == 0);
    CHECK(cost.bytes_to_device / kSteps <= 4096);
    CHECK(cost.bytes_to_device / kSteps == sizeof(StepInputs));
    CHECK(cost.bytes_to_host / kSteps == sizeof(StepOutcome));
    CHECK(system_allocations() == on_host);
    CHECK(run.steps.size() == 2 + kSteps);
  }
}

TEST_CASE("a host that is far ahead waits for the oldest step, and hears of all in order",
          "[simt][training][host]") {
  DeviceRun run(device_config(RouterKind::topk), device_training(RouterKind::topk), Device::cuda);
  constexpr int64_t kSteps = 2 * GpuSteps::kMostAhead + 3;
  for (int64_t i = 0; i < kSteps; ++i) run.trainer.enter(i);
  run.collect(true);
  REQUIRE(run.steps.size() == static_cast<size_t>(kSteps));
  for (int64_t i = 0; i < kSteps; ++i) CHECK(run.steps[static_cast<size_t>(i)].step == i);
  CHECK_FALSE(run.trainer.next(true));
}

TEST_CASE("a look at the routing every so many steps costs the steps between nothing",
          "[simt][training][host]") {
  DeviceRun run(device_config(RouterKind::topk), device_training(RouterKind::topk), Device::cuda);
  std::vector<int64_t> looks;
  run.trainer.observe([&](const RoutingView& view) {
    CHECK(view.tokens.device() == Device::cpu);
    const auto count = view.routing[0].plan.count.span<int32_t>();
    CHECK(std::accumulate(count.begin(), count.end(), 0) == view.routing[0].plan.rows());
    looks.push_back(view.step);
  });
  run.run(0, 2);
  const simt::Counters cost = cost_of(run, [&] { run.trainer.enter(2); });
  CHECK(cost.graph_launches == 1);
  CHECK(cost.host_syncs == 0);
  run.run(Trainer::kLookInterval, Trainer::kLookInterval + 1);
  CHECK(looks == std::vector<int64_t>{0, Trainer::kLookInterval});
}

// Launches do not depend on the widths, so narrow layers stand for the default model's.
TEST_CASE("a step of the default model's layers, heads and experts is at most 230 launches, a layer 28",
          "[simt][training][host]") {
  const simt::Counters step = cost_of_a_step(8), half = cost_of_a_step(4);
  const auto launches = [](const simt::Counters& c) { return c.kernels + c.products; };
  const uint64_t layer = (launches(step) - launches(half)) / 4;
  WARN("a step: " << step.kernels << " kernels, " << step.products << " products of cuBLAS, " << step.fills
                  << " fills; a layer: " << layer << " launches, " << (step.fills - half.fills) / 4
                  << " fills; the rest: " << launches(step) - 8 * layer << " launches");
  CHECK(launches(step) <= 230);
  CHECK(layer <= 28);
}

}  // namespace moe::test
