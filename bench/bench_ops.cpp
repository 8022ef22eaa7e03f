// The speed of every operation at its typical shape, in float: forward, and forward with backward.
//
//   bench_ops [--device cpu|cuda] [--dtype fp32|tf32|bf16] [--repeats N] [--benchmark_filter=attention]
//
// The cases are those of the tests (tests/op_cases/). Each is compared with its plain loops first: a wrong
// result has no speed. Rates count the cost that the case states: GFLOP/s where it states flops, else GB/s.
//
// On a GPU the time is the GPU's own, of a graph that does the same --repeats times: neither the host nor the
// launch is in it. What fits into the GPU's cache stays there from one time to the next.

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include "apps/device_options.h"
#include "apps/run_app.h"
#include "core/cuda_graph.h"
#include "core/parallel.h"
#include "tests/op_run.h"

namespace moe::test {
namespace {

struct Settings {
  DeviceOptions where{.device = "cpu"};
  int64_t repeats = 20;
  Device device = Device::cpu;
};

// By how much more than in fp32 products may be off: each rounds its factors, where fp32 rounds what it adds.
double coarseness(Precision p) {
  switch (p) {
    case Precision::fp32:
      return 1;
    case Precision::tf32:
      return 0x1p13;
    case Precision::bf16:
      return 0x1p16;
  }
  return 1;
}

// Empty, or what is wrong.
std::string prove(const OpCase& c, const Settings& settings) {
  const std::vector<double> reference = c.reference(values_of<double>(c));
  const double allowed = coarseness(settings.where.precision) * forward_tolerance(c, reference).f32;
  const double off = difference(run_case<float>(c, {.device = settings.device}).y, reference);
  return off <= allowed ? "" : fmt::format("{}: off by {:.3g}, allowed {:.3g}", c.name(), off, allowed);
}

void time_on_cpu(benchmark::State& state, const std::function<void()>& once) {
  for (auto _ : state) {
    once();
    benchmark::ClobberMemory();
  }
}

void time_on_gpu(benchmark::State& state, int64_t repeats, const std::function<void()>& once) {
  if constexpr (kWithCuda) {
    const cuda::OwnedStream stream = cuda::make_stream();
    const cuda::StreamScope on_stream(stream.get());
    const cuda::Event begin = cuda::make_event(), end = cuda::make_event();
    once();  // working memory gets its size
    const cuda::Graph graph = cuda::capture(stream.get(), [&] {
      for (int64_t i = 0; i < repeats; ++i) once();
    });
    while (state.KeepRunningBatch(repeats)) {
      cuda::record(begin, stream.get());
      cuda::launch(graph, stream.get());
      cuda::record(end, stream.get());
      cuda::wait_for(end);
      state.SetIterationTime(cuda::seconds_between(begin, end));
    }
  }
}

void run(benchmark::State& state, const OpCase& c, bool with_backward, const Settings& settings) {
  if (const std::string wrong = prove(c, settings); !wrong.empty()) return state.SkipWithError(wrong.c_str());

  std::vector<Parameter> parameters = parameters_of(c, DType::f32);
  for (Parameter& p : parameters) {
    p.value = p.value.to(settings.device);
    p.grad = p.grad.to(settings.device);
  }
  const std::vector<Var> variables = variables_of(parameters);
  const Plan plan = plan_case(c, DType::f32, Device::meta);
  const std::vector<double> values = output_gradient(plan.shape);
  const std::vector<float> floats(values.begin(), values.end());
  const Tensor dy = Tensor::from(std::span<const float>(floats), plan.shape).to(settings.device);
  Arena arena(settings.device, plan.peak_bytes);
  const auto once = [&] {
    // An inference tape records nothing; a training tape does, as in a step.
    Tape tape(arena, c.mode);
    const Var y = c.build(tape, variables);
    benchmark::DoNotOptimize(y.value().bytes_begin());
    if (with_backward) tape.backward(y, dy);
  };
  if (settings.device == Device::cpu)
    time_on_cpu(state, once);
  else
    time_on_gpu(state, settings.repeats, once);

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

void register_cases(const Settings& settings) {
  for (const OpCase& c : op_cases()) {
    if (!c.benchmark) continue;
    for (const bool with_backward : {false, true}) {
      if (with_backward && c.mode == Mode::infer) continue;
      const std::string name = c.name() + (with_backward ? " forward+backward" : " forward");
      benchmark::internal::Benchmark* const registered =
          benchmark::RegisterBenchmark(name.c_str(), [&c, with_backward, &settings](benchmark::State& state) {
            run(state, c, with_backward, settings);
          });
      registered->Unit(benchmark::kMicrosecond);
      if (settings.device == Device::cpu)
        registered->UseRealTime();
      else
        registered->UseManualTime();
    }
  }
}

}  // namespace
}  // namespace moe::test

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  moe::test::Settings settings;
  CLI::App app("Times every operation. Options that begin with --benchmark_ are Google Benchmark's.",
               "bench_ops");
  moe::add_device_options(app, settings.where, "");
  app.add_option("--repeats", settings.repeats, "how often the graph does the same, on a GPU")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}).description(""))
      ->capture_default_str();
  return moe::run_app(app, argc, argv, [&] {
    const moe::ChosenDevice chosen = moe::choose_device(settings.where);
    settings.device = chosen.device;
    benchmark::AddCustomContext("device", chosen.description);
    moe::test::register_cases(settings);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return moe::kExitOk;
  });
}
