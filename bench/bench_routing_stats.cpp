// What it costs to watch the routers: RoutingStats::observe beside the pass that it watches, the default
// model forward and backward over 16 sequences of 32 characters (a training step but for the update). Writing
// a row is timed too; it happens about a hundred times a run.
//
//   bench_routing_stats

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include "core/parallel.h"
#include "model/moe_lm.h"
#include "model/routing_log.h"

namespace moe {
namespace {

struct Watched {
  MoeLm model{config()};
  Arena arena{Device::cpu};
  Tensor tokens = Tensor::empty({16, 32}, DType::i32);
  RoutingStats stats;
  int64_t step = 0;

  static ModelConfig config() {
    ModelConfig c;
    c.vocab_size = 65;
    return c;
  }
  Watched() {
    model.initialise(1);
    int32_t id = 0;
    for (int32_t& token : tokens.span<int32_t>()) token = id = (7 * id + 3) % 65;
  }
  std::span<int32_t> ids() const { return tokens.span<int32_t>(); }
  LmOutput forward(Tape& tape) const {
    ForwardOptions options;
    options.step = step;
    return model.forward(tape, tokens, options);
  }
};

void pass(benchmark::State& state) {
  Watched w;
  for (auto _ : state) {
    Tape tape(w.arena, Mode::train);
    const LmOutput out = w.forward(tape);
    tape.backward(cross_entropy(tape, out.logits, w.tokens.reshape({w.tokens.numel()})));
    for (const Parameter& p : w.model.parameters()) p.grad.fill_zero();
    ++w.step;
  }
}

void observe(benchmark::State& state) {
  Watched w;
  Tape tape(w.arena, Mode::train);
  const LmOutput out = w.forward(tape);
  for (auto _ : state) w.stats.observe(w.step++, out.routing, w.ids());
}

void row(benchmark::State& state) {
  Watched w;
  Tape tape(w.arena, Mode::train);
  const LmOutput out = w.forward(tape);
  for (auto _ : state) {
    for (int i = 0; i < 50; ++i) w.stats.observe(w.step++, out.routing, w.ids());
    benchmark::DoNotOptimize(to_json(w.stats.take()));
  }
}

}  // namespace
}  // namespace moe

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("threads", fmt::to_string(moe::threads()));
  benchmark::RegisterBenchmark("forward and backward", moe::pass)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("observe", moe::observe)->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("50 x observe, one row", moe::row)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
