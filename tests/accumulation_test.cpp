// Several batches make one step; evaluation of a whole split; what an optimizer remembers.

#include <algorithm>
#include <cmath>

#include "model/schedule.h"
#include "tests/catch.h"
#include "tests/run_fixture.h"
#include "tests/temp_folder.h"
#include "tests/worse.h"

using namespace moe;
using namespace moe::test;

namespace {

// Nothing in it depends on how sequences are cut into batches.
ModelConfig calm_config() {
  ModelConfig c = small_config();
  c.router = RouterKind::topk;
  return c;
}

TrainConfig calm_training(int64_t batch_size, int64_t accumulate) {
  TrainConfig t;
  t.batch_size = batch_size;
  t.accumulate = accumulate;
  return t;
}

double largest_difference(const Values& a, const Values& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a[i].size(); ++j)
      most = worse(most, std::abs(static_cast<double>(a[i][j]) - static_cast<double>(b[i][j])));
  return most;
}

double largest(const Values& a) {
  double most = 0;
  for (const auto& values : a)
    for (const float x : values) most = worse(most, std::abs(static_cast<double>(x)));
  return most;
}

}  // namespace

TEST_CASE("the gradient of accumulated batches is that of one large batch", "[accumulation]") {
  SmallRun whole(calm_config(), calm_training(12, 1));
  const StepStats one = whole.trainer.compute_gradients(3);
  const Values wanted = whole.gradients();
  for (const int64_t parts : {2, 3, 4, 12}) {
    CAPTURE(parts);
    SmallRun split(calm_config(), calm_training(12 / parts, parts));
    const StepStats many = split.trainer.compute_gradients(3);
    CHECK(many.loss == Approx(one.loss).epsilon(1e-6));
    CHECK(many.grad_norm == Approx(one.grad_norm).epsilon(1e-5));
    CHECK(many.busiest_over_mean == one.busiest_over_mean);
    CHECK(largest_difference(split.gradients(), wanted) < 1e-5 * largest(wanted));
  }
}

TEST_CASE("the gradient's norm is that of all its elements, whoever has summed their squares",
          "[accumulation]") {
  ModelConfig c = calm_config();
  c.capacity_factor = 0.5;
  c.num_experts = 16;  // some of them without tokens
  for (const int64_t batches : {1, 2}) {
    CAPTURE(batches);
    SmallRun run(c, calm_training(1, batches));
    for (int64_t step = 0; step < 2; ++step) {
      const double norm = run.trainer.compute_gradients(step).grad_norm;
      for (const char* name : {"attn.qkv.weight", "moe.experts.up.weight", "moe.experts.down.weight"})
        CHECK(parameter(run.model, std::string("blocks.0.") + name).squares().has_value() == (batches == 1));
      double squares = 0;
      for (const auto& values : run.gradients())
        for (const float g : values) squares += static_cast<double>(g) * static_cast<double>(g);
      CHECK(norm == Approx(std::sqrt(squares)).epsilon(1e-13));
      run.trainer.update();
    }
  }
}

TEST_CASE("auxiliary losses of accumulated batches are their mean", "[accumulation]") {
  TrainConfig t = calm_training(4, 1);
  t.z_loss = 0.1;
  SmallRun first(calm_config(), t);
  const double one = first.trainer.compute_gradients(0).auxiliary;
  t.accumulate = 2;
  SmallRun both(calm_config(), t);
  const double mean = both.trainer.compute_gradients(0).auxiliary;
  t.batch_size = 8;
  t.accumulate = 1;
  SmallRun large(calm_config(), t);  // the z-loss is a mean over tokens, so this is the same
  CHECK(mean == Approx(large.trainer.compute_gradients(0).auxiliary).epsilon(1e-6));
  CHECK(mean != Approx(one).epsilon(1e-6));
}

TEST_CASE("an expert that has tokens in any of a step's batches is updated", "[accumulation]") {
  ModelConfig c = calm_config();
  c.n_layer = 1;
  c.top_k = 1;
  TrainConfig t = calm_training(1, 1);
  // A batch that leaves an expert idle which the next batch uses: found by looking.
  int64_t step = -1;
  size_t expert = 0;
  std::vector<std::vector<int32_t>> counts;
  const auto look = [&](SmallRun& run) {
    counts.clear();
    run.trainer.observe([&](const RoutingView& v) {
      const auto n = v.routing[0].plan.count.span<int32_t>();
      counts.emplace_back(n.begin(), n.end());
    });
  };
  t.accumulate = 2;
  SmallRun run(c, t);
  look(run);
  for (int64_t s = 0; s < 100 && step < 0; ++s) {
    counts.clear();
    run.trainer.compute_gradients(s);
    run.trainer.discard();
    for (size_t e = 0; e < 4; ++e)
      for (int k = 0; k < 2; ++k)
        if (counts[0][e] == 0 && counts[1][e] > 0) step = s, expert = e;
  }
  REQUIRE(step >= 0);
  const Tensor up = parameter(run.model, "blocks.0.moe.experts.up.bias").value;
  const auto bias = [&] {
    const auto v = up.rows(static_cast<int64_t>(expert), static_cast<int64_t>(expert) + 1).span<float>();
    return std::vector<float>(v.begin(), v.end());
  };
  const auto before = bias();
  run.trainer.step(step);
  CHECK(bias() != before);
}

TEST_CASE("the batches of a step have noise of their own", "[accumulation]") {
  TrainConfig t = calm_training(4, 2);
  SmallRun run(small_config(), t);
  std::ranges::fill(run.corpus.ids, 3);  // the batches are the same, but for the noise
  std::vector<std::vector<int32_t>> counts;
  run.trainer.observe([&](const RoutingView& v) {
    const auto n = v.routing[0].plan.count.span<int32_t>();
    counts.emplace_back(n.begin(), n.end());
  });
  run.trainer.step(0);
  REQUIRE(counts.size() == 2);
  CHECK(counts[0] != counts[1]);
}

TEST_CASE("accumulated steps with noise and dropout repeat bit for bit, for any number of threads",
          "[accumulation]") {
  TrainConfig t = small_training();
  t.accumulate = 3;
  const auto train = [&](int threads) {
    set_threads(threads);
    SmallRun run(busy_config(), t);
    for (int64_t i = 0; i < 20; ++i) run.trainer.step(i);
    set_threads(0);
    return run.weights();
  };
  CHECK(train(1) == train(2));
}

TEST_CASE("a step takes the learning rate of the schedule", "[accumulation][schedule]") {
  TrainConfig t = calm_training(4, 1);
  t.weight_decay = 0;
  t.max_iters = 10;
  t.schedule = Schedule::linear;
  SmallRun run(calm_config(), t);
  // The first update of AdamW moves a weight by the learning rate, whatever the gradient.
  const auto bias = parameter(run.model, "lm_head.bias").value.span<float>();
  const float before = bias[0];
  run.trainer.step(8);
  CHECK(std::abs(bias[0] - before) == Approx(learning_rate_at(t, 8)).epsilon(1e-3));
  CHECK(learning_rate_at(t, 8) < t.learning_rate / 8);
}

TEST_CASE("a discarded step leaves weights, moments and the next steps as they were", "[accumulation]") {
  SmallRun plain(busy_config(), small_training()), other(busy_config(), small_training());
  for (int64_t i = 0; i < 5; ++i) {
    plain.trainer.step(i);
    other.trainer.compute_gradients(i + 100);
    other.trainer.discard();
    other.trainer.step(i);
  }
  CHECK(plain.weights() == other.weights());
}

TEST_CASE("another attempt draws other batches, attempt 0 the first ones", "[accumulation]") {
  SmallRun run(busy_config(), small_training());
  const double first = run.trainer.peek_loss(5);
  run.trainer.set_attempt(1);
  CHECK(run.trainer.peek_loss(5) != first);
  run.trainer.set_attempt(0);
  CHECK(run.trainer.peek_loss(5) == first);
}

TEST_CASE("the observer sees every batch of a step with its tokens and routing", "[accumulation]") {
  TrainConfig t = small_training();
  t.accumulate = 3;
  SmallRun run(busy_config(), t), unseen(busy_config(), t);
  std::vector<std::vector<int32_t>> batches;
  run.trainer.observe([&](const RoutingView& v) {
    CHECK(v.step == 7);
    CHECK(v.batch == static_cast<int64_t>(batches.size()));
    CHECK(v.tokens.shape() == Shape{4, 6});
    CHECK(v.routing.size() == 2);
    CHECK(v.routing[0].plan.rows() == 4 * 6 * 2);
    const auto ids = v.tokens.span<int32_t>();
    batches.emplace_back(ids.begin(), ids.end());
  });
  run.trainer.step(7);
  unseen.trainer.step(7);
  REQUIRE(batches.size() == 3);
  CHECK(batches[0] != batches[1]);
  CHECK(run.weights() == unseen.weights());
}

TEST_CASE("evaluating everything takes every position once", "[accumulation][evaluation]") {
  TrainConfig t = calm_training(4, 1);
  t.eval_full = true;
  SmallRun run(calm_config(), t);  // 200 ids validate: 33 sequences of 6 and one of 1
  const double got = run.trainer.evaluate(0).validation;
  // Plain: the loss of one position after another, from logits.
  const auto ids = run.corpus.validation();
  double sum = 0;
  for (size_t begin = 0; begin + 1 < ids.size(); begin += 6) {
    const size_t length = std::min<size_t>(6, ids.size() - 1 - begin);
    const Tensor tokens = Tensor::from(ids.subspan(begin, length), {1, static_cast<int64_t>(length)});
    const auto logits = infer_logits(run.model, tokens);
    for (size_t i = 0; i < length; ++i) {
      const float* row = logits.data() + i * 11;
      double total = 0;
      for (int v = 0; v < 11; ++v) total += std::exp(static_cast<double>(row[v]));
      sum += std::log(total) - static_cast<double>(row[ids[begin + i + 1]]);
    }
  }
  CHECK(ids.size() == 200);
  CHECK(got == Approx(sum / 199).epsilon(1e-5));
  CHECK(run.trainer.evaluate(1).validation == got);  // nothing in it is drawn
}

TEST_CASE("an evaluation of everything can be stopped", "[accumulation][evaluation]") {
  TrainConfig t = calm_training(4, 1);
  t.eval_full = true;
  SmallRun run(calm_config(), t);
  CHECK(std::isnan(run.trainer.evaluate(0, [] { return true; }).validation));
}

TEST_CASE("an optimizer goes on from its saved state bit for bit, and refuses another's", "[accumulation]") {
  const TempFolder folder;
  const auto path = folder / "optimizer.safetensors";
  SmallRun whole(busy_config(), small_training()), cut(busy_config(), small_training());
  for (int64_t i = 0; i < 5; ++i) whole.trainer.step(i), cut.trainer.step(i);
  write_safetensors(path, cut.trainer.optimizer().state());
  SmallRun resumed(busy_config(), small_training());
  for (size_t i = 0; i < cut.model.parameters().size(); ++i)
    resumed.model.parameters()[i].value.copy_from(cut.model.parameters()[i].value);
  resumed.trainer.optimizer().load(Safetensors::read(path), 5);
  for (int64_t i = 5; i < 10; ++i) whole.trainer.step(i), resumed.trainer.step(i);
  CHECK(whole.weights() == resumed.weights());

  using Catch::Matchers::Contains;
  const auto refusal = [&](const ModelConfig& c, int64_t most_steps) {
    SmallRun other(c, small_training());
    return message_of(ErrorKind::checkpoint,
                      [&] { other.trainer.optimizer().load(Safetensors::read(path), most_steps); });
  };
  CHECK_THAT(refusal(busy_config(), 4), Contains("counts 5 updates in 4 steps"));
  ModelConfig wider = busy_config();
  wider.n_embed = 16;
  CHECK_THAT(refusal(wider, 5), Contains("tensor \"token_embedding.weight.exp_avg\""));
  ModelConfig shallower = busy_config();
  shallower.n_layer = 1;
  CHECK_THAT(refusal(shallower, 5), Contains("tensors, but this model's optimizer has"));
}
