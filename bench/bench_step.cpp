// How fast a training step and an evaluation pass are, and how fast they could be.
//
//   bench_step [options of train_moe] [--steps 20] [--product-size N]
//
// The floor of a step is the time of its matrix products at the rate of large ones, plus one pass of AdamW
// over all parameters, on as many threads. Nothing beside products is free, so a ratio of 1 cannot be
// reached; it says how much of the time goes elsewhere. A shared machine changes its speed within seconds:
// runs and floor are measured in turns, and a run is compared with the floor of its round.
//
// On a GPU the pass of AdamW is one of copying as many bytes. A step is the GPU's own time for the graph that
// a run launches; what is said to be launched one by one is seen by the host, which waits for each.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <vector>

#include "apps/options.h"
#include "apps/run_app.h"
#include "core/cuda_graph.h"
#include "core/parallel.h"
#include "kernels/adamw/adamw.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_cuda.h"
#include "model/trainer.h"
#include "tests/random_text.h"

namespace {

using namespace moe;

constexpr int64_t kSymbols = 65;  // those of Tiny Shakespeare
constexpr int64_t kRound = 4;     // runs of each row in turn

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Seconds of runs, and how many times its floor each took.
class Row {
 public:
  void add(const std::vector<double>& seconds, double floor) {
    for (const double s : seconds) {
      seconds_.push_back(s);
      ratios_.push_back(s / floor);
    }
    floors_.push_back(floor);
  }
  void print(const char* what) const {
    const auto [least, most] = std::ranges::minmax(seconds_);
    fmt::print("{:<20} {:8.3f} {:8.3f} {:8.3f}  floor {:7.3f}, ratio {:.2f}\n", what, 1e3 * least,
               1e3 * median(seconds_), 1e3 * most, 1e3 * median(floors_), median(ratios_));
  }

 private:
  std::vector<double> seconds_, ratios_, floors_;
};

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<double> seconds_of_runs(int64_t runs, const std::function<void()>& body) {
  std::vector<double> seconds;
  for (int64_t i = 0; i < runs; ++i) seconds.push_back(seconds_of(body));
  return seconds;
}

// Of the matrix products of one token's way forward, two for each multiply-add.
double forward_flops(const ModelConfig& c) {
  const auto width = static_cast<double>(c.n_embed), hidden = static_cast<double>(c.hidden());
  const double attention = 4 * width * width + 2 * static_cast<double>(c.block_size) * width;
  const double routers = c.router == RouterKind::noisy_topk ? 2 : 1;
  const double experts = static_cast<double>(c.top_k) * 2 * width * hidden +
                         routers * width * static_cast<double>(c.num_experts);
  return 2 * (static_cast<double>(c.n_layer) * (attention + experts) + width * static_cast<double>(kSymbols));
}

// What the floor is made of.
struct Limits {
  double flops_per_second;  // of one large product of square matrices, the best of several
  double adamw_seconds;     // of one pass over all parameters, the best of several
};

double flops_of_product(int64_t n) {
  return 2 * std::pow(static_cast<double>(n), 3);
}

// Measures them anew at each call.
using MeasureLimits = std::function<Limits()>;

MeasureLimits limits_of_cpu(int64_t parameters, int64_t n) {
  const auto size = static_cast<size_t>(n * n);
  return [parameters, n, a = std::vector<float>(size, 1e-3f), b = std::vector<float>(size, 1e-3f),
          c = std::vector<float>(size),
          memory = std::vector<float>(static_cast<size_t>(4 * parameters), 1e-3f)]() mutable {
    const kernels::cpu::Gemm<float> product{
        .m = n, .n = n, .k = n, .a = a.data(), .lda = n, .b = b.data(), .ldb = n, .c = c.data(), .ldc = n};
    float* p = memory.data();
    const kernels::AdamWSegment<float> all{
        p, p + parameters, p + 2 * parameters, p + 3 * parameters, parameters, 1};
    const auto least = [](const std::function<void()>& body) {
      return std::ranges::min(seconds_of_runs(4, body));
    };
    return Limits{flops_of_product(n) / least([&] { kernels::cpu::gemm(product); }),
                  least([&] { kernels::cpu::adamw<float>({}, std::span(&all, 1)); })};
  };
}

// Seconds that the GPU takes for what `work` launches, the best of several.
double gpu_seconds(const std::function<void()>& work) {
  const cuda::Event begin = cuda::make_event(), end = cuda::make_event();
  double least = INFINITY;
  for (int i = 0; i < 20; ++i) {
    cuda::record(begin, current_stream());
    work();
    cuda::record(end, current_stream());
    cuda::wait_for(end);
    least = std::min(least, cuda::seconds_between(begin, end));
  }
  return least;
}

// AdamW reads and writes weight, gradient and both moments: 16 bytes each way. Unused in builds without CUDA.
[[maybe_unused]] MeasureLimits limits_of_gpu(int64_t parameters, int64_t n) {
  const auto zeros = [](int64_t count) { return Tensor::zeros({count}, DType::f32, Device::cuda); };
  return [n, a = zeros(n * n), c = zeros(n * n), from = zeros(4 * parameters), to = zeros(4 * parameters)] {
    const auto product = [&] {
      kernels::cuda::gemm(n, n, n, {a.data<float>(), n}, {a.data<float>(), n}, false, c.data<float>(),
                          current_stream());
    };
    return Limits{flops_of_product(n) / gpu_seconds(product), gpu_seconds([&] { to.copy_from(from); })};
  };
}

// product_size: 0 for what the device's rate has long levelled off at.
MeasureLimits limits_of(Device device, int64_t parameters, int64_t product_size) {
  if constexpr (kWithCuda)
    if (device == Device::cuda) return limits_of_gpu(parameters, product_size ? product_size : 4096);
  return limits_of_cpu(parameters, product_size ? product_size : 1024);
}

// Until what was launched is over. The default stream waits for the trainer's.
void wait_for(Device device) {
  if constexpr (kWithCuda)
    if (device == Device::cuda) {
      const cuda::Event end = cuda::make_event();
      cuda::record(end, nullptr);
      cuda::wait_for(end);
    }
}

// Seconds of each step of a run: the host enters them without waiting for any.
std::vector<double> times_of_steps(Trainer& trainer, int64_t first, int64_t count) {
  std::vector<double> seconds;
  const auto collect = [&](bool wait) {
    while (const auto done = trainer.next(wait)) seconds.push_back(done->seconds);
  };
  for (int64_t step = first; step < first + count; ++step) {
    trainer.enter(step);
    collect(false);
  }
  collect(true);
  return seconds;
}

int bench(TrainOptions& o, int64_t steps, int64_t product_size) {
  set_threads(o.threads);
  const ChosenDevice chosen = choose_device(o.device);
  o.model.vocab_size = kSymbols;
  o.model.validate();
  // An evaluation is one pass over each split, of as many sequences as fit into it.
  o.training.eval_iters = std::max<int64_t>(1, 2048 / (o.model.block_size * o.training.batch_size));
  o.training.validate(o.model);
  const Corpus corpus = test::random_text(kSymbols);
  const MoeLm model(o.model, DType::f32, chosen.device);
  model.initialise(static_cast<uint64_t>(o.training.seed));
  Trainer trainer(model, o.training, corpus,
                  plan_memory(o.model, o.training, chosen.available_memory, chosen.device));

  const double tokens =
      static_cast<double>(o.training.batch_size * o.model.block_size * o.training.accumulate);
  const double eval_tokens =
      2 * static_cast<double>(o.training.eval_iters * o.training.batch_size * o.model.block_size);
  const double flops = forward_flops(o.model);
  const MeasureLimits measure =
      limits_of(chosen.device, static_cast<int64_t>(o.model.parameters()), product_size);

  // The first step loads and warms up, on a GPU the second one records.
  int64_t step = 2;
  times_of_steps(trainer, 0, step);
  trainer.evaluate(0);
  measure();
  Row forward, gradients, update, whole, evaluation;
  std::vector<double> rates, adamw;
  double wall = 0;
  for (int64_t done = 0; done < steps; done += kRound) {
    const int64_t runs = std::min(kRound, steps - done);
    const Limits limits = measure();
    rates.push_back(limits.flops_per_second);
    adamw.push_back(limits.adamw_seconds);
    const double products = 3 * tokens * flops / limits.flops_per_second;
    wall +=
        seconds_of([&] { whole.add(times_of_steps(trainer, step, runs), products + limits.adamw_seconds); });
    step += runs;
    for (const int64_t end = step + runs; step < end; ++step) {
      gradients.add({seconds_of([&] { trainer.compute_gradients(step); })}, products);
      update.add({seconds_of([&] {
                   trainer.update();
                   wait_for(chosen.device);
                 })},
                 limits.adamw_seconds);
    }
    forward.add(seconds_of_runs(runs, [&] { trainer.peek_loss(0); }), products / 3);
    evaluation.add(seconds_of_runs(runs, [&] { trainer.evaluate(0); }),
                   eval_tokens * flops / limits.flops_per_second);
  }

  fmt::print("{}; large products {:.1f} GFLOP/s; AdamW {:.3f} ms; a step's products {:.3f} GFLOP\n",
             chosen.description, 1e-9 * median(rates), 1e3 * median(adamw), 3e-9 * tokens * flops);
  fmt::print("{:<20} {:>8} {:>8} {:>8}  of {} runs\n", "ms", "least", "median", "most", steps);
  forward.print("forward");
  gradients.print("forward, backward");
  update.print("optimizer");
  whole.print("step");
  evaluation.print("evaluation");
  fmt::print("{:.0f} tokens a second in training; an evaluation has {} sequences\n",
             static_cast<double>(steps) * tokens / wall, 2 * o.training.eval_iters * o.training.batch_size);
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times training steps and evaluation passes of a model on random text.", "bench_step");
  TrainOptions options;
  int64_t steps = 20, product_size = 0;
  add_train_options(app, options);
  app.add_option("--steps", steps, "runs to time")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}).description(""))
      ->capture_default_str();
  app.add_option("--product-size", product_size,
                 "rows and columns of the large product; 0: as the device wants it")
      ->check(CLI::Range(int64_t{0}, int64_t{65536}).description(""))
      ->capture_default_str();
  return run_app(app, argc, argv, [&] { return bench(options, steps, product_size); });
}
