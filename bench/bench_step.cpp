// How fast a training step and an evaluation pass are, and how fast they could be.
//
//   bench_step [options of train_moe] [--steps 20] [--product-size N]
//
// The floor of a step is the time of its matrix products at the rate of large ones, plus one pass of AdamW
// over all parameters; both are measured in this run, on as many threads. Nothing beside products is free, so
// a ratio of 1 cannot be reached; it says how much of the time goes elsewhere.
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

struct Spread {
  double least, median, most;  // seconds

  static Spread of(std::vector<double> seconds) {
    std::ranges::sort(seconds);
    return {seconds.front(), seconds[seconds.size() / 2], seconds.back()};
  }
};

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One call to warm up, then `runs` of them.
Spread time_of(int64_t runs, const std::function<void()>& body) {
  body();
  std::vector<double> seconds;
  for (int64_t i = 0; i < runs; ++i) seconds.push_back(seconds_of(body));
  return Spread::of(std::move(seconds));
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

Limits limits_of_cpu(int64_t parameters, int64_t n) {
  const auto size = static_cast<size_t>(n * n);
  const std::vector<float> a(size, 1e-3f), b(size, 1e-3f);
  std::vector<float> c(size);
  const kernels::cpu::Gemm<float> product{
      .m = n, .n = n, .k = n, .a = a.data(), .lda = n, .b = b.data(), .ldb = n, .c = c.data(), .ldc = n};
  const double seconds = time_of(20, [&] { kernels::cpu::gemm(product); }).least;

  std::vector<float> memory(static_cast<size_t>(4 * parameters), 1e-3f);
  float* p = memory.data();
  const kernels::AdamWSegment<float> all{
      p, p + parameters, p + 2 * parameters, p + 3 * parameters, parameters, 1};
  return {flops_of_product(n) / seconds,
          time_of(10, [&] { kernels::cpu::adamw<float>({}, std::span(&all, 1)); }).least};
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
[[maybe_unused]] Limits limits_of_gpu(int64_t parameters, int64_t n) {
  const Tensor a = Tensor::zeros({n, n}, DType::f32, Device::cuda),
               c = Tensor::zeros({n, n}, DType::f32, Device::cuda);
  const auto product = [&] {
    kernels::cuda::gemm(n, n, n, {a.data<float>(), n}, {a.data<float>(), n}, false, c.data<float>(),
                        current_stream());
  };
  const Tensor from = Tensor::zeros({4 * parameters}, DType::f32, Device::cuda),
               to = Tensor::zeros({4 * parameters}, DType::f32, Device::cuda);
  return {flops_of_product(n) / gpu_seconds(product), gpu_seconds([&] { to.copy_from(from); })};
}

// product_size: 0 for what the device's rate has long levelled off at.
Limits limits_of(Device device, int64_t parameters, int64_t product_size) {
  if constexpr (kWithCuda)
    if (device == Device::cuda) return limits_of_gpu(parameters, product_size ? product_size : 4096);
  return limits_of_cpu(parameters, product_size ? product_size : 1024);
}

void print(const char* what, const Spread& s, double floor) {
  fmt::print("{:<20} {:8.3f} {:8.3f} {:8.3f}", what, 1e3 * s.least, 1e3 * s.median, 1e3 * s.most);
  if (floor > 0) fmt::print("  floor {:7.3f}, ratio {:.2f}", 1e3 * floor, s.median / floor);
  fmt::print("\n");
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

  // The first step loads and warms up, on a GPU the second one records.
  times_of_steps(trainer, 0, 2);
  std::vector<double> whole;
  const double wall = seconds_of([&] { whole = times_of_steps(trainer, 2, steps); });
  std::vector<double> gradients, updates;
  for (int64_t step = steps + 2; step < 2 * steps + 2; ++step) {
    gradients.push_back(seconds_of([&] { trainer.compute_gradients(step); }));
    updates.push_back(seconds_of([&] {
      trainer.update();
      wait_for(chosen.device);
    }));
  }
  const Spread forward = time_of(steps, [&] { trainer.peek_loss(0); });
  const Spread evaluation = time_of(steps, [&] { trainer.evaluate(0); });

  const Limits limits = limits_of(chosen.device, static_cast<int64_t>(o.model.parameters()), product_size);
  const double tokens =
      static_cast<double>(o.training.batch_size * o.model.block_size * o.training.accumulate);
  const double eval_tokens =
      2 * static_cast<double>(o.training.eval_iters * o.training.batch_size * o.model.block_size);
  const double flops = forward_flops(o.model), products = 3 * tokens * flops / limits.flops_per_second;
  fmt::print("{}; large products {:.1f} GFLOP/s; AdamW {:.3f} ms; a step's products {:.3f} GFLOP\n",
             chosen.description, limits.flops_per_second * 1e-9, 1e3 * limits.adamw_seconds,
             3e-9 * tokens * flops);
  fmt::print("{:<20} {:>8} {:>8} {:>8}  of {} runs\n", "ms", "least", "median", "most", steps);
  print("forward", forward, products / 3);
  print("forward, backward", Spread::of(gradients), products);
  print("optimizer", Spread::of(updates), limits.adamw_seconds);
  print("step", Spread::of(whole), products + limits.adamw_seconds);
  print("evaluation", evaluation, eval_tokens * flops / limits.flops_per_second);
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
