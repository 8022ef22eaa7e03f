#pragma once
// A small training run in memory.

#include "model/trainer.h"
#include "tests/model_fixture.h"

namespace moe::test {

inline constexpr int64_t kPlenty = int64_t{1} << 40;

// A text with structure: words in a fixed grammar, as ids below 11.
inline Corpus grammar(int64_t length) {
  Corpus corpus;
  for (int64_t i = 0; i < length; ++i) {
    const int64_t word = i / 5;
    corpus.ids.push_back(static_cast<int32_t>(i % 5 == 0 ? 10 : (word * word % 7 + i % 5 * 3) % 10));
  }
  return corpus;
}

using Values = std::vector<std::vector<float>>;

// The values or the gradients of all parameters, wherever they lie.
inline Values parameter_values(const MoeLm& model, Tensor Parameter::*member) {
  Values all;
  for (const Parameter& p : model.parameters()) {
    const Tensor host = (p.*member).to(Device::cpu);
    all.emplace_back(host.span<float>().begin(), host.span<float>().end());
  }
  return all;
}

struct SmallRun {
  SmallRun(const ModelConfig& m, const TrainConfig& t)
      : train(t),
        corpus(grammar(2000)),
        model(m),
        plan(plan_memory(m, t, kPlenty, Device::cpu)),
        trainer(model, train, corpus, plan) {
    model.initialise(static_cast<uint64_t>(t.seed));
  }
  Values weights() const { return parameter_values(model, &Parameter::value); }
  Values gradients() const {
    for (const Parameter& p : model.parameters()) p.settle();
    return parameter_values(model, &Parameter::grad);
  }

  TrainConfig train;
  Corpus corpus;
  MoeLm model;
  MemoryPlan plan;
  Trainer trainer;
};

inline TrainConfig small_training() {
  TrainConfig t;
  t.batch_size = 4;
  t.eval_iters = 3;
  t.grad_clip = 1;
  t.importance_loss = 0.01;
  t.load_loss = 0.01;
  t.balance_loss = 0.01;
  t.z_loss = 0.001;
  return t;
}

inline ModelConfig busy_config() {
  ModelConfig c = small_config();
  c.dropout = 0.1;
  c.capacity_factor = 1.25;
  return c;
}

}  // namespace moe::test
