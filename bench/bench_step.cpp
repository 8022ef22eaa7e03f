// How fast a training step and an evaluation pass are, and how fast they could be.
//
//   bench_step [options of train_moe] [--steps 20]
//
// The floor of a step is the time of its matrix products at the rate of large ones, plus one pass of AdamW
// over all parameters; both are measured in this run, on as many threads. Nothing beside products is free, so
// a ratio of 1 cannot be reached; it says how much of the time goes elsewhere.

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "apps/options.h"
#include "apps/run_app.h"
#include "core/parallel.h"
#include "kernels/adamw/adamw.h"
#include "kernels/gemm/gemm.h"
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

// Flops a second of one large product, the best of several.
double product_rate() {
  constexpr int64_t n = 1024;
  const std::vector<float> a(n * n, 1e-3f), b(n * n, 1e-3f);
  std::vector<float> c(n * n);
  const kernels::cpu::Gemm<float> product{
      .m = n, .n = n, .k = n, .a = a.data(), .lda = n, .b = b.data(), .ldb = n, .c = c.data(), .ldc = n};
  return 2.0 * n * n * n / time_of(20, [&] { kernels::cpu::gemm(product); }).least;
}

// Seconds of one pass of AdamW over n parameters, the best of several.
double adamw_time(int64_t n) {
  std::vector<float> memory(static_cast<size_t>(4 * n), 1e-3f);
  float* p = memory.data();
  const kernels::AdamWSegment<float> all{p, p + n, p + 2 * n, p + 3 * n, n, 1};
  return time_of(10, [&] { kernels::cpu::adamw<float>({}, std::span(&all, 1)); }).least;
}

void print(const char* what, const Spread& s, double floor) {
  fmt::print("{:<20} {:8.2f} {:8.2f} {:8.2f}", what, 1e3 * s.least, 1e3 * s.median, 1e3 * s.most);
  if (floor > 0) fmt::print("  floor {:7.2f}, ratio {:.2f}", 1e3 * floor, s.median / floor);
  fmt::print("\n");
}

int bench(TrainOptions& o, int64_t steps) {
  set_threads(o.threads);
  o.model.vocab_size = kSymbols;
  o.model.validate();
  // An evaluation is one pass over each split, of as many sequences as fit into it.
  o.training.eval_iters = std::max<int64_t>(1, 2048 / (o.model.block_size * o.training.batch_size));
  o.training.validate(o.model);
  const Corpus corpus = test::random_text(kSymbols);
  const MoeLm model(o.model);
  model.initialise(static_cast<uint64_t>(o.training.seed));
  Trainer trainer(model, o.training, corpus, plan_memory(o.model, o.training, INT64_MAX));

  trainer.step(0);
  std::vector<double> gradients, updates, both;
  for (int64_t step = 1; step <= steps; ++step) {
    gradients.push_back(seconds_of([&] { trainer.compute_gradients(step); }));
    updates.push_back(seconds_of([&] { trainer.update(); }));
    both.push_back(gradients.back() + updates.back());
  }
  const Spread forward = time_of(steps, [&] { trainer.peek_loss(0); });
  const Spread evaluation = time_of(steps, [&] { trainer.evaluate(0); });

  const double rate = product_rate(), adamw = adamw_time(static_cast<int64_t>(o.model.parameters()));
  const double tokens =
      static_cast<double>(o.training.batch_size * o.model.block_size * o.training.accumulate);
  const double eval_tokens =
      2 * static_cast<double>(o.training.eval_iters * o.training.batch_size * o.model.block_size);
  const double flops = forward_flops(o.model), products = 3 * tokens * flops / rate;
  fmt::print("{} threads; large products {:.1f} GFLOP/s; AdamW {:.2f} ms; a step's products {:.3f} GFLOP\n",
             threads(), rate * 1e-9, 1e3 * adamw, 3e-9 * tokens * flops);
  fmt::print("{:<20} {:>8} {:>8} {:>8}  of {} runs\n", "ms", "least", "median", "most", steps);
  print("forward", forward, products / 3);
  print("forward, backward", Spread::of(gradients), products);
  print("optimizer", Spread::of(updates), adamw);
  print("step", Spread::of(both), products + adamw);
  print("evaluation", evaluation, eval_tokens * flops / rate);
  fmt::print("an evaluation has {} sequences\n", 2 * o.training.eval_iters * o.training.batch_size);
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times training steps and evaluation passes of a model on random text.", "bench_step");
  TrainOptions options;
  int64_t steps = 20;
  add_train_options(app, options);
  app.add_option("--steps", steps, "runs to time")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}).description(""))
      ->capture_default_str();
  return run_app(app, argc, argv, [&] { return bench(options, steps); });
}
