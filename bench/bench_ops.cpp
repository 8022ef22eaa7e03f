// The speed of every operation at its typical shape, in float: forward, and forward with backward.
//
//   bench_ops --benchmark_filter=attention
//
// The cases are those of the tests (tests/op_cases/). Each is compared with its plain loops first: a wrong
// result has no speed. Rates count the cost that the case states: GFLOP/s where it states flops, else GB/s.

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include "core/parallel.h"
#include "tests/op_run.h"

namespace moe::test {
namespace {

// Empty, or what is wrong.
std::string prove(const OpCase& c) {
  const std::vector<double> reference = c.reference(values_of<double>(c));
  const double allowed = forward_tolerance(c, reference).f32;
  const double off = difference(run_case<float>(c).y, reference);
  return off <= allowed ? "" : fmt::format("{}: off by {:.3g}, allowed {:.3g}", c.name(), off, allowed);
}

void run(benchmark::State& state, const OpCase& c, bool with_backward) {
  if (const std::string wrong = prove(c); !wrong.empty()) return state.SkipWithError(wrong.c_str());

  const std::vector<Parameter> parameters = parameters_of(c, DType::f32);
  const std::vector<Var> variables = variables_of(parameters);
  const Plan plan = plan_case(c, DType::f32, Device::meta);
  const std::vector<double> values = output_gradient(plan.shape);
  const std::vector<float> floats(values.begin(), values.end());
  const Tensor dy = Tensor::from(std::span<const float>(floats), plan.shape);
  Arena arena(Device::cpu, plan.peak_bytes);
  for (auto _ : state) {
    // An inference tape records nothing; a training tape does, as in a step.
    Tape tape(arena, c.mode);
    const Var y = c.build(tape, variables);
    benchmark::DoNotOptimize(y.value().bytes_begin());
    if (with_backward) tape.backward(y, dy);
    benchmark::ClobberMemory();
  }

  const Cost& cost = *c.benchmark;
  const double flops = cost.flops + (with_backward ? cost.backward_flops : 0);
  const double bytes = cost.bytes + (with_backward ? cost.backward_bytes : 0);
  const auto rate = [](double amount) {
    return benchmark::Counter(amount * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  };
  if (cost.flops > 0)
    state.counters["GFLOP/s"] = rate(flops);
  else if (cost.bytes > 0)
    state.counters["GB/s"] = rate(bytes);
}

void register_cases() {
  for (const OpCase& c : op_cases()) {
    if (!c.benchmark) continue;
    for (const bool with_backward : {false, true}) {
      if (with_backward && c.mode == Mode::infer) continue;
      const std::string name = c.name() + (with_backward ? " forward+backward" : " forward");
      benchmark::RegisterBenchmark(
          name.c_str(), [&c, with_backward](benchmark::State& state) { run(state, c, with_backward); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace
}  // namespace moe::test

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("threads", fmt::to_string(moe::threads()));
  moe::test::register_cases();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
