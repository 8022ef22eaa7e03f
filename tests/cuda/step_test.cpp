// What a training step does around the model, on the GPU and on the CPU: batches, sums, the gradient's norm
// and the update. Runs on a GPU and on the executor of tests/simt/ alike.

#include <algorithm>
#include <set>

#include "kernels/adamw/adamw.h"
#include "kernels/draw_sequences/draw_sequences.h"
#include "kernels/grad_norm/grad_norm.h"
#include "kernels/training_step/training_step.h"
#include "model/device_table.h"
#include "tests/cuda/device_test.h"

namespace moe::test {
namespace {

namespace cpu = kernels::cpu;
namespace cuda = kernels::cuda;

}  // namespace

TEST_CASE("the GPU's gradient norm is the CPU's", "[cuda][grad_norm]") {
  std::vector<Tensor> tensors;
  std::vector<std::vector<float>> values;
  for (const int64_t n : {0, 1, 7, 4096, 4097, 40001}) values.push_back(normals(n, static_cast<uint32_t>(n)));
  std::vector<kernels::GradSegment<float>> host, device;
  const Tensor norm = unwritten<double>(1);
  for (const auto& v : values) {
    tensors.push_back(on_gpu(v));
    host.push_back({v.data(), static_cast<int64_t>(v.size())});
    device.push_back({tensors.back().data<float>(), static_cast<int64_t>(v.size())});
  }
  double want = 0;
  cpu::grad_norm(kernels::Gradients<float>{host, {}}, &want);
  const DeviceTable table(device);
  cuda::grad_norm({device, table.of<kernels::GradSegment<float>>()}, norm.data<double>(), current_stream());
  CHECK(values_of<double>(norm)[0] == Approx(want).epsilon(1e-12));
  cuda::grad_norm({}, norm.data<double>(), current_stream());
  CHECK(values_of<double>(norm)[0] == 0);
}

namespace {

// Some pieces for AdamW on both devices: two that are updated every step, then those of experts.
struct AdamWPair {
  static constexpr int64_t kLengths[] = {0, 1, 7, 4096, 4097, 10001};
  static constexpr size_t kCount = std::size(kLengths);
  struct Piece {
    std::vector<float> part[4];  // value, grad, m, v
    Tensor gpu[4];
  };
  std::vector<Piece> pieces;
  std::vector<kernels::AdamWSegment<float>> host, device;
  std::vector<int64_t> steps, kept{0, 3, 0, 1};
  std::vector<int32_t> expert{-1, -1, 0, 1, 2, 3};

  AdamWPair() {
    for (const int64_t n : kLengths) {
      Piece p;
      for (uint32_t i = 0; i < 4; ++i) {
        p.part[i] = normals(n, i);
        for (float& x : p.part[i]) x = i == 3 ? x * x : x;
        p.gpu[i] = on_gpu(p.part[i]);
      }
      steps.push_back(3 * n % 17);
      pieces.push_back(std::move(p));
    }
    for (Piece& p : pieces) {
      const auto n = static_cast<int64_t>(p.part[0].size());
      host.push_back({p.part[0].data(), p.part[1].data(), p.part[2].data(), p.part[3].data(), n, 0});
      device.push_back({p.gpu[0].data<float>(), p.gpu[1].data<float>(), p.gpu[2].data<float>(),
                        p.gpu[3].data<float>(), n, 0});
    }
  }

  // A step on both; the same afterwards? But for gradients, which the GPU alone clears: those of the pieces
  // that are not `left` alone.
  void run(const kernels::AdamWOptions& o, const kernels::StepMemory& step, const std::set<size_t>& left) {
    const Tensor gsteps = on_gpu(steps), gkept = on_gpu(kept), gexpert = on_gpu(expert),
                 rates = unwritten<float>(kCount * sizeof(kernels::AdamWRates) / sizeof(float));
    const Tensor memory = on_gpu(words_of(step));
    const DeviceTable table(device);
    cuda::adamw(o,
                {{},
                 table.of<kernels::AdamWSegment<float>>(),
                 gsteps.data<int64_t>(),
                 gexpert.data<int32_t>(),
                 reinterpret_cast<kernels::AdamWRates*>(rates.data<float>())},
                reinterpret_cast<const kernels::StepMemory*>(memory.data<int64_t>()), gkept.data<int64_t>(),
                current_stream());
    cpu::adamw(o, kernels::AdamWPieces<float>{host, {}, steps.data(), expert.data(), nullptr}, &step,
               kept.data());
    CHECK(values_of<int64_t>(gsteps) == steps);
    for (size_t p = 0; p < kCount; ++p)
      for (int i = 0; i < 4; ++i) {
        std::vector<float> expected = pieces[p].part[i];
        if (i == 1 && !left.contains(p)) std::ranges::fill(expected, 0.0f);
        CHECK(relative_difference(values_of<float>(pieces[p].gpu[i]), expected) < 1e-6);
      }
  }
};

}  // namespace

TEST_CASE("the GPU's AdamW is the CPU's, and leaves an expert without tokens alone", "[cuda][adamw]") {
  AdamWPair pair;
  kernels::StepMemory step;
  step.inputs.learning_rate = 0.01;
  step.outcome.grad_scale = 0.5;
  const auto before = pair.steps;
  const auto idle = pair.pieces[2].part[0], busy = pair.pieces[3].part[0];
  pair.run({.weight_decay = 0.1}, step, {2, 4});
  for (size_t i = 0; i < before.size(); ++i) CHECK(pair.steps[i] == before[i] + (i != 2 && i != 4));
  CHECK(pair.pieces[2].part[0] == idle);
  CHECK(pair.pieces[3].part[0] != busy);
}

TEST_CASE("a step that must not be made clears the gradients on the GPU, and that is all", "[cuda][adamw]") {
  AdamWPair pair;
  const auto before = pair.pieces;
  const auto steps = pair.steps;
  kernels::StepMemory step;
  step.outcome.verdict = kernels::Verdict::spike;
  pair.run({}, step, {});
  CHECK(pair.steps == steps);
  for (size_t p = 0; p < before.size(); ++p)
    for (size_t i = 0; i < 4; ++i) CHECK(pair.pieces[p].part[i] == before[p].part[i]);
}

TEST_CASE("sequences on the GPU are those of the CPU, wherever their address lies",
          "[cuda][draw_sequences]") {
  const kernels::SequencesShape s{.ids = 300, .batch = 5, .length = 37, .first = 11};
  const auto ids = below(90, s.ids, 1);
  const RngAddress rng{.seed = 123456789012345, .step = 77, .stream = 3};
  std::vector<int32_t> tokens(static_cast<size_t>(s.batch * s.length)), targets(tokens.size());
  cpu::draw_sequences(s, rng, ids.data(), tokens.data(), targets.data());
  const Tensor gids = on_gpu(ids),
               moment = on_gpu(std::vector<int64_t>{static_cast<int64_t>(rng.seed), rng.step});
  const RngAddress elsewhere{.stream = 3, .at = reinterpret_cast<const RngMoment*>(moment.data<int64_t>())};
  for (const RngAddress& address : {rng, elsewhere}) {
    const Tensor x = unwritten<int32_t>(s.batch * s.length), y = unwritten<int32_t>(s.batch * s.length);
    cuda::draw_sequences(s, address, gids.data<int32_t>(), x.data<int32_t>(), y.data<int32_t>(),
                         current_stream());
    CHECK(values_of<int32_t>(x) == tokens);
    CHECK(values_of<int32_t>(y) == targets);
  }
}

TEST_CASE("a step's seeds, sums and outcome on the GPU are the CPU's", "[cuda][training_step]") {
  for (const auto& [layers, experts] : {std::pair{1, 1}, {2, 3}, {11, 70}}) {
    kernels::StepSettings s{.layers = layers, .experts = experts, .passes = 3, .assignments = 9'000'000};
    s.spike_bound = 5;
    s.grad_clip = 2;
    kernels::StepMemory memory;
    memory.inputs.moment = {99, 4};
    memory.grad_norm = 7;
    memory.history = {1.5, 0.2, 500, 2, false};
    const auto n = static_cast<size_t>(layers) * static_cast<size_t>(experts);
    std::vector<int64_t> assigned(n, -1), kept(n, -1);
    std::vector<RngMoment> moments(3);
    const Tensor gmemory = on_gpu(words_of(memory)), gassigned = on_gpu(assigned), gkept = on_gpu(kept),
                 gmoments = unwritten<int64_t>(6);
    auto* const on_device = reinterpret_cast<kernels::StepMemory*>(gmemory.data<int64_t>());
    cpu::step_seeds(3, 8, &memory.inputs, moments.data());
    cuda::step_seeds(3, 8, &on_device->inputs, reinterpret_cast<RngMoment*>(gmoments.data<int64_t>()),
                     current_stream());
    std::vector<int64_t> words(6);
    std::memcpy(words.data(), moments.data(), sizeof(RngMoment) * 3);
    CHECK(values_of<int64_t>(gmoments) == words);

    for (uint32_t pass = 0; pass < 3; ++pass) {
      kernels::PlansOfLayers plans{.count = layers}, gplans = plans;
      std::vector<std::vector<int32_t>> values;
      std::vector<Tensor> tensors;
      for (int l = 0; l < layers; ++l)
        for (const int64_t count : {experts + 1, experts}) {
          values.push_back(below(1000, count, pass));
          tensors.push_back(on_gpu(values.back()));
        }
      for (size_t l = 0; l < static_cast<size_t>(layers); ++l) {
        plans.offsets[l] = values[2 * l].data();
        plans.assigned[l] = values[2 * l + 1].data();
        gplans.offsets[l] = tensors[2 * l].data<int32_t>();
        gplans.assigned[l] = tensors[2 * l + 1].data<int32_t>();
      }
      const std::vector<float> losses = normals(2, pass);
      const Tensor glosses = on_gpu(losses);
      cpu::note_pass(s, pass == 0, plans, losses.data(), losses.data() + 1, &memory, assigned.data(),
                     kept.data());
      cuda::note_pass(s, pass == 0, gplans, glosses.data<float>(), glosses.data<float>() + 1, on_device,
                      gassigned.data<int64_t>(), gkept.data<int64_t>(), current_stream());
    }
    CHECK(values_of<int64_t>(gassigned) == assigned);
    CHECK(values_of<int64_t>(gkept) == kept);
    cpu::finish_step(s, assigned.data(), kept.data(), &memory);
    cuda::finish_step(s, gassigned.data<int64_t>(), gkept.data<int64_t>(), on_device, current_stream());
    kernels::StepMemory got;
    const std::vector<int64_t> raw = values_of<int64_t>(gmemory);
    std::memcpy(static_cast<void*>(&got), raw.data(), sizeof got);
    CHECK(got.outcome.loss == Approx(memory.outcome.loss));
    CHECK(got.outcome.auxiliary == Approx(memory.outcome.auxiliary));
    CHECK(got.outcome.busiest_over_mean == Approx(memory.outcome.busiest_over_mean));
    CHECK(got.outcome.dropped_share == Approx(memory.outcome.dropped_share));
    CHECK(got.outcome.deviations == Approx(memory.outcome.deviations));
    CHECK(got.outcome.grad_scale == Approx(2.0 / 7));
    CHECK(got.outcome.verdict == memory.outcome.verdict);
    CHECK(got.outcome.history.losses == 501);
    CHECK(got.outcome.history.mean == Approx(memory.outcome.history.mean));
  }
}

}  // namespace moe::test
