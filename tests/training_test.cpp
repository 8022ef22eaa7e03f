// Training runs: they learn, they repeat bit for bit, they allocate nothing once they are under way.

#include <cmath>
#include <limits>
#include <string>

#include "tests/catch.h"
#include "tests/run_fixture.h"

using namespace moe;
using namespace moe::test;

TEST_CASE("a small model learns a small grammar", "[training]") {
  ModelConfig c = small_config();
  c.n_embed = 16;
  TrainConfig t;
  t.batch_size = 8;
  t.eval_iters = 4;
  t.learning_rate = 1e-2;
  SmallRun run(c, t);
  const double before = run.trainer.evaluate(0).validation;
  for (int64_t i = 0; i < 200; ++i) run.trainer.step(i);
  const double after = run.trainer.evaluate(200).validation;
  INFO("validation loss " << before << " -> " << after);
  CHECK(before > 2.0);
  CHECK(after < 1.2);
}

TEST_CASE("300 steps with 1, 2 and 3 threads end in the same bits, run after run", "[training][threads]") {
  const auto train = [](int threads) {
    set_threads(threads);
    SmallRun run(busy_config(), small_training());
    for (int64_t i = 0; i < 300; ++i) {
      run.trainer.step(i);
      if (i % 100 == 0) run.trainer.evaluate(i);
    }
    set_threads(0);
    return run.weights();
  };
  const auto one = train(1);
  CHECK(train(2) == one);
  CHECK(train(3) == one);
  CHECK(train(2) == one);
}

TEST_CASE("after the first step no tensor memory is allocated, and the plan was exact",
          "[training][memory]") {
  for (const auto& [layers, top_k] : {std::pair<int64_t, int64_t>{2, 2}, {1, 1}, {3, 1}, {1, 2}}) {
    ModelConfig c = busy_config();
    c.n_layer = layers;
    c.top_k = top_k;
    CAPTURE(layers, top_k);
    SmallRun run(c, small_training());
    run.trainer.step(0);
    run.trainer.evaluate(0);
    const int64_t before = system_allocations();
    for (int64_t i = 1; i < 20; ++i) {
      run.trainer.step(i);
      run.trainer.evaluate(i);
    }
    CHECK(system_allocations() == before);
    CHECK(run.trainer.arena().peak_bytes() == run.plan.activations);
    CHECK(run.trainer.arena().reserved_bytes() == run.plan.activations);
    CHECK(run.trainer.arena().bytes_in_use() == 0);
  }
}

TEST_CASE("evaluating or peeking changes nothing", "[training]") {
  SmallRun plain(busy_config(), small_training()), watched(busy_config(), small_training());
  for (int64_t i = 0; i < 5; ++i) {
    watched.trainer.evaluate(i);
    const double peeked = watched.trainer.peek_loss(i);
    CHECK(watched.trainer.step(i).loss == peeked);
    plain.trainer.step(i);
  }
  CHECK(plain.weights() == watched.weights());
}

TEST_CASE("an expert without tokens keeps its weights, moments and step count", "[training]") {
  ModelConfig c = small_config();
  c.router = RouterKind::topk;
  c.top_k = 1;
  c.n_layer = 1;
  const TrainConfig t = [] {
    TrainConfig train;
    train.batch_size = 4;
    return train;
  }();
  SmallRun run(c, t);
  // A bias that sends every token to expert 2.
  parameter(run.model, "blocks.0.moe.router.bias").value.span<float>()[2] = 1000;
  const Tensor up = parameter(run.model, "blocks.0.moe.experts.up.weight").value;
  const auto slice = [&](int64_t e) {
    const auto v = up.rows(e, e + 1).span<float>();
    return std::vector<float>(v.begin(), v.end());
  };
  const auto idle = slice(0), used = slice(2);
  for (int64_t i = 0; i < 3; ++i) CHECK(run.trainer.step(i).busiest_over_mean == 4.0);
  CHECK(slice(0) == idle);
  CHECK(slice(2) != used);
}

TEST_CASE("capacity drops the share it must, and only in training", "[training]") {
  ModelConfig c = small_config();
  c.capacity_factor = 0.5;
  TrainConfig t;
  t.batch_size = 4;
  SmallRun run(c, t);
  CHECK(run.trainer.step(0).dropped_share >= 0.5);
}

TEST_CASE("a diverging run ends with an error of its own kind", "[training]") {
  TrainConfig t;
  t.batch_size = 4;
  t.learning_rate = 1e30;
  SmallRun run(small_config(), t);
  try {
    for (int64_t i = 0; i < 50; ++i) run.trainer.step(i);
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::diverged);
    CHECK(std::string(e.what()).find("--learning-rate") != std::string::npos);
  }
}

TEST_CASE("a run that cannot fit is refused before any memory is taken, saying how much it needs",
          "[training][memory]") {
  ModelConfig c = small_config();
  c.n_embed = 1 << 20;
  c.n_layer = 1000;
  const int64_t before = system_allocations();
  try {
    plan_memory(c, {}, int64_t{16} << 30, Device::cpu);
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::resource);
    CHECK(std::string(e.what()).find("PiB") != std::string::npos);
  }
  c.n_layer = 2;
  c.n_embed = 64;
  const MemoryPlan plan = plan_memory(c, {}, kPlenty, Device::cpu);
  CHECK_THROWS_AS(plan_memory(c, {}, plan.total() - 1, Device::cpu), Error);
  CHECK_NOTHROW(plan_memory(c, {}, plan.total(), Device::cpu));
  CHECK(system_allocations() == before);
}

TEST_CASE("sequences come from both ends of the text and are shifted by one", "[training][draw_sequences]") {
  Corpus corpus;
  for (int32_t i = 0; i < 100; ++i) corpus.ids.push_back(i);
  const Tensor ids = corpus.tensor(Device::cpu).rows(0, corpus.training_ids());
  const Tensor x = Tensor::empty({64, 8}, DType::i32), y = Tensor::empty({64, 8}, DType::i32);
  int32_t low = 1000, high = 0;
  for (uint32_t step = 0; step < 20; ++step) {
    draw_sequences(ids, {1, step, 2}, 0, x, y);
    for (int64_t i = 0; i < x.numel(); ++i) {
      CHECK(y.data<int32_t>()[i] == x.data<int32_t>()[i] + 1);
      low = std::min(low, x.data<int32_t>()[i]);
      high = std::max(high, y.data<int32_t>()[i]);
    }
  }
  CHECK(low == 0);
  CHECK(high == 89);
  // Sequence 5 of a stream is the same alone and in a batch.
  const Tensor one = Tensor::empty({1, 8}, DType::i32), target = Tensor::empty({1, 8}, DType::i32);
  draw_sequences(ids, {1, 19, 2}, 5, one, target);
  CHECK(std::equal(one.data<int32_t>(), one.data<int32_t>() + 8, x.data<int32_t>() + 40));
}
