#pragma once
// A small training run on a device, without files.

#include <vector>

#include "core/cuda_graph.h"
#include "model/trainer.h"
#include "tests/run_fixture.h"

namespace moe::test {

// A model with its trainer, and what happened to them. As in the programs, all but the steps runs on the
// default stream, which waits for that of the steps; the tests' own stream would not.
struct DeviceRun {
  cuda::StreamScope default_stream{nullptr};
  TrainConfig train;
  Corpus corpus = grammar(2000);
  MoeLm model;
  Trainer trainer;
  std::vector<StepStats> steps;

  DeviceRun(const ModelConfig& c, const TrainConfig& t, Device device)
      : train(t),
        model(c, DType::f32, device),
        trainer(model, train, corpus, plan_memory(c, t, kPlenty, device)) {
    model.initialise(3);
  }

  // As model/run.cpp does: the host runs ahead and hears of steps when they are over.
  void run(int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      trainer.enter(i);
      collect(false);
    }
    collect(true);
  }
  void collect(bool wait) {
    while (const auto done = trainer.next(wait)) steps.push_back(*done);
  }

  Values weights() const { return parameter_values(model, &Parameter::value); }
};

// With dropout, auxiliary losses and clipping.
inline ModelConfig device_config(RouterKind router, double capacity_factor = 0) {
  ModelConfig c = small_config();
  c.n_embed = 16;
  c.dropout = 0.2;
  c.router = router;
  c.capacity_factor = capacity_factor;
  return c;
}

inline TrainConfig device_training(RouterKind router, int64_t accumulate = 1) {
  TrainConfig t = small_training();
  t.batch_size = 3;
  t.accumulate = accumulate;
  t.learning_rate = 3e-3;
  t.max_iters = 1000;
  if (router == RouterKind::topk) t.load_loss = 0;
  return t;
}

}  // namespace moe::test
