// Whole training steps on Device::cuda, which is the executor here, beside the same steps on the CPU.

#include <cmath>

#include "autograd/ops.h"
#include "model/losses.h"
#include "model/optimizer.h"
#include "tests/catch.h"
#include "tests/model_fixture.h"
#include "tests/simt/executor/counters.h"

namespace moe::test {
namespace {

constexpr int64_t kBatch = 3;
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kSteps = 3;  // each takes a second there
#else
constexpr int64_t kSteps = 20;
#endif

ModelConfig config_of(RouterKind router, double capacity_factor) {
  ModelConfig c = small_config();
  c.n_embed = 16;
  c.dropout = 0.2;
  c.router = router;
  c.capacity_factor = capacity_factor;
  return c;
}

// A model with its optimizer, and what happened to it.
struct Run {
  MoeLm model;
  Optimizer optimizer;
  Arena arena;
  Device device;
  std::vector<double> loss;
  std::vector<std::vector<int32_t>> expert;  // by step and layer

  Run(const ModelConfig& c, Device on) : model(c, DType::f32, on), optimizer(model), arena(on), device(on) {
    const MoeLm initial(c);
    initial.initialise(3);
    for (size_t i = 0; i < model.parameters().size(); ++i)
      model.parameters()[i].value.copy_from(initial.parameters()[i].value);
  }

  void step(int64_t index, const AuxiliaryWeights& auxiliary = {.balance = 0.01, .z = 0.001}) {
    const ModelConfig& c = model.config();
    Tape tape(arena, Mode::train);
    const Tensor tokens = token_batch(c, kBatch, c.block_size, index).to(device);
    const Tensor targets = token_batch(c, kBatch, c.block_size, index + 1).to(device);
    const LmOutput out = model.forward(tape, tokens, {.seed = 9, .step = index});
    const Var entropy = cross_entropy(tape, out.logits, targets.reshape({targets.numel()}));
    const Var more = auxiliary_loss(tape, out.routing, auxiliary);
    tape.backward(more.defined() ? add(tape, entropy, more) : entropy);
    loss.push_back(entropy.value().to(Device::cpu).data<float>()[0]);
    std::vector<LayerRouting> routing = out.routing;
    for (LayerRouting& r : routing) {
      r.plan.offsets = r.plan.offsets.to(Device::cpu);
      const Tensor chosen = r.router.gating.expert.to(Device::cpu);
      expert.emplace_back(chosen.span<int32_t>().begin(), chosen.span<int32_t>().end());
    }
    optimizer.count_tokens(routing);
    optimizer.step({.learning_rate = 3e-3, .grad_clip = 1}, optimizer.grad_norm());
  }
};

}  // namespace

TEST_CASE("steps of training on the GPU are those of the CPU", "[simt][training]") {
  for (const RouterKind router : {RouterKind::noisy_topk, RouterKind::topk})
    for (const double capacity_factor : {0.0, 1.0}) {
      const ModelConfig c = config_of(router, capacity_factor);
      Run cpu(c, Device::cpu), cuda(c, Device::cuda);
      for (int64_t i = 0; i < kSteps; ++i) {
        cpu.step(i);
        cuda.step(i);
        INFO("router " << static_cast<int>(router) << ", capacity " << capacity_factor << ", step " << i);
        CHECK(std::abs(cuda.loss.back() - cpu.loss.back()) <= 1e-5 * cpu.loss.back());
        CHECK(cuda.expert == cpu.expert);
      }
      CHECK(cpu.loss.back() != cpu.loss.front());
    }
}

TEST_CASE("after the first step, training on the GPU allocates nothing for activations", "[simt][training]") {
  const ModelConfig c = config_of(RouterKind::noisy_topk, 0);
  Run run(c, Device::cuda);
  run.step(0);
  const int64_t reserved = run.arena.reserved_bytes();
  run.step(1);
  CHECK(run.arena.reserved_bytes() == reserved);
}

// Launches do not depend on the widths, so narrow layers stand for the default model's.
TEST_CASE("a step of the default model's depth is at most 230 launches, a layer at most 28",
          "[simt][training]") {
  const auto launches = [](int64_t layers) {
    ModelConfig c = config_of(RouterKind::noisy_topk, 0);
    c.n_layer = layers;
    Run run(c, Device::cuda);
    run.step(0, {});
    const uint64_t before = simt::counters().kernels;
    run.step(1, {});
    return simt::counters().kernels - before;
  };
  const uint64_t step = launches(8), layer = (step - launches(4)) / 4;
  INFO(step << " launches a step, " << layer << " a layer");
  CHECK(step <= 230);
  CHECK(layer <= 28);
}

}  // namespace moe::test
