// What a run leaves in its folder, what it says to those who look on, and what it does when losses go wrong.

#include "model/run.h"

#include <algorithm>
#include <set>
#include <utility>

#include "model/resume.h"
#include "tests/run_fixture.h"
#include "tests/run_shop.h"

using namespace moe;
using namespace moe::test;
using Catch::Matchers::Contains;

namespace {

namespace fs = std::filesystem;

std::set<std::string> checkpoints(const fs::path& out) {
  std::set<std::string> names;
  for (const fs::path& p : checkpoints_in(out)) names.insert(p.filename().string());
  return names;
}

// A run of a small model, in this process.
struct RunInMemory {
  RunInMemory(const fs::path& out, TrainConfig t, RunRequests requests = {})
      : config(t),
        folder(out),
        tokenizer(CharTokenizer::from_text("0123456789a")),
        small(busy_config(), config),
        progress(std::tmpfile(), {}, config.eval_interval),
        run(folder, options, config, tokenizer, small.model, small.trainer, progress, std::move(requests)) {}

  TrainConfig config;
  RunOptions options;
  RunFolder folder;
  Tokenizer tokenizer;
  SmallRun small;
  Progress progress;
  Run run;
};

// A run that takes most ups and downs of the loss for a divergence.
TrainConfig nervous() {
  TrainConfig t = small_training();
  t.max_iters = 160;
  t.eval_interval = 10;
  t.learning_rate = 1e-5;
  t.spike_zscore = 1.5;
  t.max_skips = 1;
  t.max_rewinds = 100;
  return t;
}

// Whether what happened in two runs is the same, and so are the files of their last checkpoints.
void check_same_ends(const fs::path& a, const fs::path& b) {
  const auto events = [](const fs::path& out) {
    std::string all;
    std::ifstream file(out / "divergence.log");
    for (std::string time, line; file >> time && std::getline(file, line);) all += line + "\n";
    return all;
  };
  CHECK(events(a) == events(b));
  for (const char* file : kCheckpointFiles) {
    INFO(file);
    CHECK((file_text(a / file) == file_text(b / file)));
  }
}

TrainConfig ten_steps() {
  TrainConfig t = small_training();
  t.max_iters = 10;
  t.eval_interval = 4;
  return t;
}

}  // namespace

TEST_CASE("a run leaves checkpoints, links to the newest and the best, and a row for each step", "[run]") {
  const RunShop shop;
  const fs::path out = shop / "out";
  REQUIRE(run(shop, shop.training("out", 20, {"--keep", "3", "--sample-interval", "6"})).code == 0);
  const fs::path best = fs::read_symlink(out / "best");
  std::set<std::string> wanted{"step-00000014", "step-00000015", "step-00000020"};
  wanted.insert(best.string());
  for (const std::string& name : checkpoints(out))  // the newest three and the best
    CHECK((wanted.contains(name) || name == "step-00000019"));
  CHECK(fs::read_symlink(out / "latest") == "step-00000020");
  CHECK(load_training_point(out).state.step == 20);
  CHECK(load_training_point(out / "best").state.best_step == load_training_point(out / "best").state.step);
  CHECK(steps_with(out, "loss") == counting(20));
  CHECK(steps_with(out, "val_loss") == std::vector<int64_t>{0, 7, 14, 19});
  for (const char* key : {"time", "loss", "learning_rate", "grad_norm", "step_ms", "tokens_per_second",
                          "busiest_over_mean", "dropped_share"})
    CHECK(rows_of(out)[1].contains(key));
  for (const char* name : {"step-00000006.txt", "step-00000012.txt", "step-00000018.txt"})
    CHECK(file_text(out / "samples" / name).size() == 251);
  CHECK(shop.temporary_files() == 0);
}

TEST_CASE("another run in the folder is moved aside whole, and can be gone on with", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 6)).code == 0);
  const std::string older = shop.bytes("out/latest");
  const Result second = run(shop, shop.training("out", 4, {"--seed", "2"}));
  REQUIRE(second.code == 0);
  CHECK_THAT(second.out, Contains("older   what was in out is in out/previous-1 now"));
  CHECK(shop.bytes("out/previous-1/latest") == older);
  CHECK(run(shop, {"generate", "--checkpoint", "out/previous-1", "--tokens", "5"}).code == 0);
  CHECK(run(shop, shop.resuming("out/previous-1")).code == 0);
  REQUIRE(run(shop, shop.training("out", 4)).code == 0);
  CHECK(fs::exists(shop / "out/previous-2/model.safetensors"));
  CHECK(fs::exists(shop / "out/previous-1/model.safetensors"));
}

TEST_CASE("files of a run's names that belong to no run are moved aside, not written over", "[run]") {
  const RunShop shop;
  const auto is_mine = [](const fs::path& file) { return file_text(file) == "mine"; };
  const std::vector<std::string> names{"config.json", "tokenizer.json", "metrics.jsonl", "samples/notes.tmp"};
  fs::create_directories(shop / "out/samples");
  for (const std::string& name : names) std::ofstream(shop / "out" / name) << "mine";
  std::ofstream(shop / "out/samples/step-00000006.txt.tmp") << "of a run that was killed";
  const Result r = run(shop, shop.training("out", 4));
  REQUIRE(r.code == 0);
  CHECK_THAT(r.out, Contains("is in out/previous-1 now"));
  for (const std::string& name : names) CHECK(is_mine(shop / "out/previous-1" / name));
  CHECK(!fs::exists(shop / "out/previous-1/samples/step-00000006.txt.tmp"));
}

TEST_CASE("a run's pictures are drawn, and moved aside with it", "[run]") {
  const RunShop shop;
  Arguments pictured = shop.training("out", 6);
  std::erase(pictured, "--no-report");
  REQUIRE(run(shop, pictured).code == 0);
  const std::string routing = file_text(shop / "out/routing.jsonl");
  CHECK_FALSE(routing.empty());
  CHECK(fs::exists(shop / "out/report.html"));
  REQUIRE(run(shop, shop.training("out", 4)).code == 0);
  CHECK(file_text(shop / "out/previous-1/routing.jsonl") == routing);
  for (const char* picture : {"report.html", "report"}) {
    INFO(picture);
    CHECK(fs::exists(shop / "out/previous-1" / picture));
    CHECK(!fs::exists(shop / "out" / picture));
  }
  CHECK(!fs::exists(shop / "out/routing.jsonl"));
}

TEST_CASE("SIGUSR1 saves and the run goes on", "[run]") {
  const RunShop shop;
  Process process(
      shop.path(),
      shop.training("out", 100000000, {"--eval-interval", "100000000", "--save-interval", "100000000"}));
  REQUIRE(process.says("step 0/"));
  process.kill(SIGUSR1);
  for (int i = 0; i < 1000 && load_training_point(shop / "out").state.step == 0; ++i) pause(10);
  const int64_t saved = load_training_point(shop / "out").state.step;
  CHECK(saved > 0);
  for (int i = 0; i < 1000 && steps_with(shop / "out", "loss").size() <= static_cast<size_t>(saved) + 1; ++i)
    pause(10);
  process.kill(SIGTERM);
  CHECK(process.wait() == 143);
  CHECK(load_training_point(shop / "out").state.step > saved);
}

TEST_CASE("two runs do not write to one folder at a time", "[run]") {
  const RunShop shop;
  Process process(shop.path(), shop.training("out", 100000000));
  REQUIRE(process.says("step 0/"));
  std::error_code code;
  fs::create_directory(shop / "elsewhere", code);
  Process second(shop / "elsewhere", {"train_moe", "../text.txt", "--out", "../out", "--n-embed", "16"});
  CHECK(second.wait() == 2);
  CHECK_THAT(second.err(), Contains("another run writes to this folder"));
  process.kill(SIGTERM);
  CHECK(process.wait() == 143);
}

TEST_CASE("patience ends a run that no longer gets better", "[run]") {
  const RunShop shop;
  const Result r = run(shop, shop.training("out", 100000,
                                           {"--patience", "3", "--schedule", "constant",
                                            "--min-learning-rate", "0", "--learning-rate", "0.05"}));
  CHECK(r.code == 0);
  CHECK_THAT(r.out, Contains("stopped after 3 evaluations without a lower validation loss"));
  const TrainerState state = load_training_point(shop / "out").state;
  CHECK(state.evaluations_since_best == 3);
  CHECK(state.step == state.best_step + 21);
}

TEST_CASE("a spike is skipped, and the weights stay as they were", "[run]") {
  const RunShop shop;
  // So low a bound that some ordinary losses are above it.
  const Result r = run(shop, shop.training("out", 300,
                                           {"--spike-zscore", "1.5", "--max-skips", "100", "--learning-rate",
                                            "1e-5", "--save-interval", "1000", "--eval-interval", "1000"}));
  REQUIRE(r.code == 0);
  const auto skipped = steps_with(shop / "out", "skipped");
  REQUIRE(!skipped.empty());
  CHECK(skipped.front() >= 100);
  CHECK(steps_with(shop / "out", "loss") == counting(300));
  const TrainingPoint point = load_training_point(shop / "out");
  const Tensor updates = point.optimizer.tensor("lm_head.bias.step");
  CHECK(updates.data<int64_t>()[0] == 300 - static_cast<int64_t>(skipped.size()));
  CHECK_THAT(file_text(shop / "out/divergence.log"),
             Contains("deviations above the mean: skipped, 1 in a row"));
}

TEST_CASE("repeated spikes rewind the run, which then goes on with other batches, and repeats bit for bit",
          "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.nervous_training("a", 160)).code == 0);
  REQUIRE(run(shop, shop.nervous_training("b", 160)).code == 0);
  const TrainerState state = load_training_point(shop / "a").state;
  CHECK(state.attempt > 0);
  CHECK_THAT(file_text(shop / "a/divergence.log"), Contains("back to the checkpoint of step"));
  CHECK(steps_with(shop / "a", "loss") == counting(160));  // none twice
  CHECK(steps_with(shop / "a", "skipped").empty());
  CHECK(shop.bytes("a/latest") == shop.bytes("b/latest"));
}

TEST_CASE("a run that always diverges ends with code 6, its last good model in place", "[run]") {
  const RunShop shop;
  const Result r = run(shop, shop.training("out", 60, breaking()));
  INFO(r.err);
  CHECK(r.code == 6);
  CHECK_THAT(r.err, Contains("5 steps skipped in a row") && Contains("after 2 rewinds") &&
                        Contains("out/divergence.log") && Contains("--learning-rate"));
  CHECK(load_training_point(shop / "out").state.step == 0);
  CHECK(shop.temporary_files() == 0);
}

TEST_CASE("a run that was stopped while steps were skipped rewinds to what was saved before", "[run]") {
  const TempFolder folder;
  TrainConfig t = small_training();
  t.learning_rate = 1e30;  // the first update breaks the weights
  t.max_iters = t.eval_interval = 60;
  {
    int asked = 0;
    RunInMemory first(folder / "out", t, {.stop = [&] { return ++asked > 12 ? 130 : 0; }});
    first.run.start({});
    CHECK(first.run.run() == 130);
    CHECK(first.run.state().losses.skipped > 0);
    CHECK(load_training_point(folder / "out").state.step > 0);
  }
  RunInMemory second(folder / "out", t);
  second.run.continue_from(load_training_point(folder / "out"));
  CHECK_THROWS_WITH(second.run.run(), Contains("training diverged"));
  CHECK_THAT(file_text(folder / "out/divergence.log"), Contains("back to the checkpoint of step 0,"));
  CHECK(second.run.state().rewinds == t.max_rewinds);
}

TEST_CASE("checkpoints on request and interruptions do not move what a rewind goes back to", "[run]") {
  const TempFolder folder;
  TrainConfig t = nervous();
  RunInMemory whole(folder / "whole", t);
  whole.run.start({});
  CHECK(whole.run.run() == 0);
  REQUIRE(whole.run.state().attempt > 2);

  int asked = 0;
  const auto every_third = [&] { return ++asked % 3 == 0; };
  {
    RunInMemory first(folder / "parts", t, {.save = every_third});
    first.options.keep = 1;
    first.run.start({});
    CHECK(first.run.run() == 0);
  }
  check_same_ends(folder / "whole", folder / "parts");

  // And from one interruption to the next.
  for (int code = 130, starts = 0; code != 0; ++starts) {
    REQUIRE(starts < 1000);
    int looks = 0;
    RunInMemory next(folder / "pieces", t, {.stop = [&] { return ++looks > 40 ? 130 : 0; }});
    if (starts == 0)
      next.run.start({});
    else
      next.run.continue_from(load_training_point(folder / "pieces"));
    code = next.run.run();
  }
  check_same_ends(folder / "whole", folder / "pieces");
}

TEST_CASE("an evaluation that is no number is not saved, and no reason to lose patience", "[run]") {
  const RunShop shop;
  const Result r = run(
      shop, shop.training("out", 60,
                          breaking({"--eval-interval", "1", "--patience", "3", "--sample-interval", "1"})));
  INFO(r.err);
  CHECK(r.code == 6);
  CHECK_THAT(r.err, Contains("training diverged"));
  CHECK(load_training_point(shop / "out").state.step == 0);
  CHECK_THAT(file_text(shop / "out/divergence.log"), Contains("the model of step 1 writes nothing"));
}

TEST_CASE("a last step that breaks the model ends with code 6", "[run]") {
  const RunShop shop;
  const Result r = run(shop, shop.training("out", 1, breaking()));
  CHECK(r.code == 6);
  CHECK_THAT(r.err,
             Contains("the model of step 1 writes nothing: a logit is") && Contains("--learning-rate"));
  const Result text = run(shop, {"generate", "--tokens", "3"});
  CHECK(text.code == 4);
  CHECK_THAT(text.err, Contains("not usable"));
}

TEST_CASE("a checkpoint that was being replaced is not lost where two folders cannot be exchanged", "[run]") {
  const TempFolder folder;
  fs::create_directories(folder / "out/step-00000003.tmp.older");
  fs::create_directories(folder / "out/step-00000003.tmp");
  fs::create_directories(folder / "out/step-00000007.tmp.older");
  fs::create_directories(folder / "out/step-00000007");
  const RunFolder opened(folder / "out");
  CHECK(checkpoints(folder / "out") == std::set<std::string>{"step-00000003", "step-00000007"});
  CHECK(!fs::exists(folder / "out/step-00000003.tmp"));
  CHECK(!fs::exists(folder / "out/step-00000007.tmp.older"));
}

TEST_CASE("an observer sees every row, every batch's routing, every checkpoint and every rewind", "[run]") {
  const TempFolder folder;
  TrainConfig t = ten_steps();
  t.accumulate = 2;
  RunInMemory r(folder / "out", t);
  std::vector<int64_t> rows, routed, saved;
  r.run.attach({.row = [&](const MetricRow& row) { rows.push_back(row.step); },
                .routing = [&](const RoutingView& view) { routed.push_back(view.step); },
                .saved =
                    [&](const fs::path& at, int64_t step) {
                      CHECK(load_training_point(at).state.step == step);
                      saved.push_back(step);
                    }});
  r.run.attach({.row = [](const MetricRow&) {}});  // several may look on
  r.run.start(DataId::of("text"));
  CHECK(r.run.run() == 0);
  CHECK(rows == std::vector<int64_t>{0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 9});
  CHECK(routed.size() == 20);
  CHECK(saved.front() == 0);
  CHECK(saved.back() == 10);
  CHECK(rows.size() == rows_of(folder / "out").size());
}

TEST_CASE("a run is told of a rewind, and its rows come anew", "[run]") {
  const TempFolder folder;
  RunInMemory r(folder / "out", nervous());
  std::vector<int64_t> seen;
  int rewinds = 0;
  r.run.attach({.row =
                    [&](const MetricRow& row) {
                      if (row.values.front().first == "loss") seen.push_back(row.step);
                    },
                .rewound =
                    [&](int64_t step) {
                      ++rewinds;
                      std::erase_if(seen, [&](int64_t s) { return s >= step; });
                    }});
  r.run.start(DataId::of("text"));
  CHECK(r.run.run() == 0);
  CHECK(rewinds > 0);
  CHECK(seen == counting(160));
}
