// What a run leaves in its folder, what it refuses to go on from, and what it does when losses go wrong.

#include "model/run.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "model/json.h"
#include "model/resume.h"
#include "tests/run_fixture.h"
#include "tests/run_shop.h"

using namespace moe;
using namespace moe::test;
using Catch::Matchers::Contains;

namespace {

namespace fs = std::filesystem;

std::vector<nlohmann::json> rows_of(const fs::path& out) {
  std::vector<nlohmann::json> rows;
  std::ifstream file(out / "metrics.jsonl");
  for (std::string line; std::getline(file, line) && !file.eof();)
    rows.push_back(nlohmann::json::parse(line));
  return rows;
}

// The steps of the rows that have `key`.
std::vector<int64_t> steps_with(const fs::path& out, const char* key) {
  std::vector<int64_t> steps;
  for (const auto& row : rows_of(out))
    if (row.contains(key)) steps.push_back(row["step"]);
  return steps;
}

std::vector<int64_t> counting(int64_t n) {
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < n; ++i) numbers.push_back(i);
  return numbers;
}

std::set<std::string> checkpoints(const fs::path& out) {
  std::set<std::string> names;
  for (const fs::path& p : checkpoints_in(out)) names.insert(p.filename().string());
  return names;
}

TrainerState some_state() {
  TrainerState s;
  s.step = 12;
  s.seed = 7;
  s.data = DataId::of("text");
  s.metrics_rows = 15;
  s.evaluated = 10;
  s.evaluation = {1.25, std::nan("")};
  s.losses = {1.0 / 3, 0.1, 12, 1, false};
  s.attempt = 2;
  s.rewinds = 1;
  return s;
}

// A run of a small model, in this process.
struct RunInMemory {
  RunInMemory(const fs::path& out, TrainConfig t)
      : config(t),
        folder(out),
        tokenizer(CharTokenizer::from_text("0123456789a")),
        small(busy_config(), config),
        progress(std::tmpfile(), {}, config.eval_interval),
        run(folder, options, config, tokenizer, small.model, small.trainer, progress, {}) {}

  TrainConfig config;
  RunOptions options;
  RunFolder folder;
  Tokenizer tokenizer;
  SmallRun small;
  Progress progress;
  Run run;
};

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

TEST_CASE("a resumed run's rows are those of a run in one piece", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("whole", 20)).code == 0);
  REQUIRE(run(shop, shop.training("parts", 20)).code == 0);
  // As after a crash: rows of steps that no checkpoint knows, and half a line.
  fs::remove_all(shop / "parts/step-00000020");
  fs::remove(shop / "parts/latest");
  fs::create_symlink("step-00000014", shop / "parts/latest");
  std::ofstream(shop / "parts/metrics.jsonl", std::ios::app) << "{\"step\": 20, \"lo";
  REQUIRE(run(shop, shop.resuming("parts")).code == 0);
  const auto whole = rows_of(shop / "whole"), parts = rows_of(shop / "parts");
  REQUIRE(whole.size() == parts.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    CHECK(whole[i]["step"] == parts[i]["step"]);
    for (const char* key : {"loss", "grad_norm", "val_loss", "learning_rate"})
      if (whole[i].contains(key)) CHECK(whole[i][key] == parts[i][key]);
  }
}

TEST_CASE("a run is continued only with its text and its options", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 10)).code == 0);
  const auto refused = [&](const Arguments& more, int code, const std::string& says) {
    const Result r = run(shop, shop.resuming("out", more));
    INFO(r.err);
    CHECK(r.code == code);
    CHECK_THAT(r.err, Contains(says));
    CHECK(std::ranges::count(r.err, '\n') == 1);
  };
  refused({"--n-embed", "32", "--top-k", "1"}, 2,
          "--n-embed is 16 there, 32 here; --top-k is 2 there, 1 here");
  refused({"--dropout", "0.5"}, 2, "--dropout is 0.1 there, 0.5 here");
  refused({"--seed", "1"}, 2, "--seed is 1337 there, 1 here");
  refused({"--batch-size", "8"}, 2, "--batch-size is 4 there, 8 here");
  refused({"--max-iters", "30"}, 2, "--max-iters is 10 there, 30 here");  // cosine: other learning rates
  refused({"--max-iters", "5"}, 2, "has made 10 steps already");
  refused({"--dropout", "0.5", "--allow-changes"}, 2, "--dropout");  // never the model
  std::ofstream(shop / "text.txt", std::ios::app) << "foxes\n";
  refused({}, 3, "text.txt is not the text that");

  CHECK(run(shop, {"train_moe", "text.txt", "--resume", "nowhere"}).code == 2);
  fs::create_directory(shop / "empty");
  CHECK(run(shop, {"train_moe", "text.txt", "--resume", "empty"}).code == 4);
}

TEST_CASE("what changes no step already made may be changed in a resumed run", "[run]") {
  const RunShop shop;
  const Arguments constant{"--schedule", "constant", "--min-learning-rate", "0"};
  REQUIRE(run(shop, shop.training("short", 12, constant)).code == 0);
  REQUIRE(run(shop, shop.training("long", 20, constant)).code == 0);
  REQUIRE(run(shop, shop.resuming("short", {"--max-iters", "20", "--eval-interval", "3", "--threads", "1",
                                            "--keep", "5", "--patience", "50", "--eval-full"}))
              .code == 0);
  const auto weights = [&](const char* out) {
    const Checkpoint c = load_checkpoint(shop.path() / out);
    std::string all;
    for (const auto& e : c.weights.entries())
      all.append(reinterpret_cast<const char*>(c.weights.bytes(e).data()), c.weights.bytes(e).size());
    return all;
  };
  CHECK(weights("short") == weights("long"));
  // On request the options of training may differ.
  CHECK(run(shop, shop.resuming("long", {"--max-iters", "22", "--learning-rate", "1e-4", "--allow-changes"}))
            .code == 0);
}

TEST_CASE("another run in the folder is moved aside whole, and can be gone on with", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 6)).code == 0);
  const std::string older = shop.bytes("out/latest");
  const Result second = run(shop, shop.training("out", 4, {"--seed", "2"}));
  REQUIRE(second.code == 0);
  CHECK_THAT(second.out, Contains("older   the run that was in out is in out/previous-1 now"));
  CHECK(shop.bytes("out/previous-1/latest") == older);
  CHECK(run(shop, {"generate", "--checkpoint", "out/previous-1", "--tokens", "5"}).code == 0);
  CHECK(run(shop, shop.resuming("out/previous-1")).code == 0);
  REQUIRE(run(shop, shop.training("out", 4)).code == 0);
  CHECK(fs::exists(shop / "out/previous-2/model.safetensors"));
  CHECK(fs::exists(shop / "out/previous-1/model.safetensors"));
}

TEST_CASE("a run can branch off from any checkpoint into another folder, but not in its own", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 20)).code == 0);
  const Result back = run(shop, {"train_moe", "text.txt", "--resume", "out/step-00000014"});
  CHECK(back.code == 2);
  CHECK_THAT(back.err, Contains("goes further; give --out another folder"));
  REQUIRE(run(shop, {"train_moe", "text.txt", "--resume", "out/step-00000014", "--out", "branch"}).code == 0);
  CHECK_FALSE(file_text(shop / "branch/model.safetensors").empty());
  CHECK(load_training_point(shop / "branch").state.step == 20);
  CHECK(steps_with(shop / "branch", "loss") == counting(20));
}

TEST_CASE("a run is resumed from inside its own folder, by the name of its checkpoint", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 6)).code == 0);
  Process inside(shop / "out", {"train_moe", "../text.txt", "--resume", "step-00000006"});
  CHECK(inside.wait() == 0);
  CHECK_THAT(inside.out(), Contains("resume  step-00000006, after 6 steps"));
  CHECK(!fs::exists(shop / "out/previous-1"));
}

TEST_CASE("options changed in a resumed run hold for the next one, even if it is killed at once", "[run]") {
  const RunShop shop;
  const Arguments constant{"--schedule", "constant", "--min-learning-rate", "0"};
  REQUIRE(run(shop, shop.training("out", 6, constant)).code == 0);
  Process process(shop.path(),
                  shop.resuming("out", {"--max-iters", "1000000", "--eval-interval", "1000000"}));
  REQUIRE(process.says("resume "));
  process.kill(SIGKILL);
  process.wait();
  CHECK(load_training_point(shop / "out").checkpoint.training.max_iters == 1000000);
}

TEST_CASE("when the newest checkpoint is damaged, the one before is taken and that is said", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("whole", 12)).code == 0);
  for (const char* file : kCheckpointFiles) {
    CAPTURE(file);
    REQUIRE(run(shop, shop.training("out", 12)).code == 0);
    const fs::path victim = shop / "out/latest" / file;
    std::string bytes = file_text(victim);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    std::ofstream(victim, std::ios::binary) << bytes;
    const Result r = run(shop, shop.resuming("out"));
    INFO(r.out << r.err);
    REQUIRE(r.code == 0);
    CHECK_THAT(r.out, Contains("damaged out/step-00000012"));
    CHECK(shop.bytes("out/latest") == shop.bytes("whole/latest"));
    fs::remove_all(shop / "out");
  }
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
  const Arguments nervous{"--spike-zscore", "1.5", "--max-skips",     "1",
                          "--max-rewinds",  "100", "--learning-rate", "1e-5"};
  REQUIRE(run(shop, shop.training("a", 160, nervous)).code == 0);
  REQUIRE(run(shop, shop.training("b", 160, nervous)).code == 0);
  const TrainerState state = load_training_point(shop / "a").state;
  CHECK(state.attempt > 0);
  CHECK_THAT(file_text(shop / "a/divergence.log"), Contains("back to the checkpoint of step"));
  CHECK(steps_with(shop / "a", "loss") == counting(160));  // none twice
  CHECK(steps_with(shop / "a", "skipped").empty());
  CHECK(shop.bytes("a/latest") == shop.bytes("b/latest"));
}

TEST_CASE("a run that always diverges ends with code 6, its last good model in place", "[run]") {
  const RunShop shop;
  const Result r = run(shop, shop.training("out", 60,
                                           {"--schedule", "constant", "--min-learning-rate", "0",
                                            "--learning-rate", "1e30", "--warmup-iters", "0"}));
  INFO(r.err);
  CHECK(r.code == 6);
  CHECK_THAT(r.err, Contains("5 steps skipped in a row") && Contains("after 2 rewinds") &&
                        Contains("out/divergence.log") && Contains("--learning-rate"));
  CHECK(load_training_point(shop / "out").state.step == 0);
  CHECK(shop.temporary_files() == 0);
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
  TrainConfig t = ten_steps();
  t.max_iters = 160;
  t.eval_interval = 10;
  t.learning_rate = 1e-5;
  t.spike_zscore = 1.5;
  t.max_skips = 1;
  t.max_rewinds = 100;
  RunInMemory r(folder / "out", t);
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

TEST_CASE("trainer_state.json comes back as it was, and what it cannot be is refused", "[run]") {
  const std::string text = to_json(some_state());
  CHECK(to_json(trainer_state_from_json(text, "state")) == text);
  CHECK(to_json(trainer_state_from_json(to_json(TrainerState()), "state")) == to_json(TrainerState()));
  const auto refusal = [&](const char* from, const char* to) {
    std::string other = text;
    const size_t at = other.find(from);
    REQUIRE(at != std::string::npos);
    other.replace(at, std::string(from).size(), to);
    return message_of(ErrorKind::checkpoint, [&] { trainer_state_from_json(other, "state"); });
  };
  CHECK_THAT(refusal("\"seed\"", "\"sead\""), Contains("lacks the key \"seed\""));
  CHECK_THAT(refusal("\"step\": 12", "\"step\": -12"), Contains("negative"));
  CHECK_THAT(refusal("\"step\": 12", "\"step\": 3"), Contains("after step 3"));
  CHECK_THAT(refusal("\"step\": 12", "\"step\": 1.5"), Contains("integer"));
  CHECK_THAT(refusal("\"finite\": false", "\"finite\": 0"), Contains("true or false"));
  CHECK_THAT(refusal("\"mean\": 0", "\"maen\": 0"), Contains("mean"));
  CHECK_THAT(refusal("\"version\": 1", "\"version\": 2"), Contains("version"));
  CHECK_THAT(refusal("\"crc32c\": \"", "\"crc32c\": \"x"), Contains("checksum"));
}

TEST_CASE("a checkpoint without the optimizer's part generates, but training does not go on from it",
          "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 6)).code == 0);
  fs::remove(shop / "out/latest/optimizer.safetensors");
  CHECK(run(shop, {"generate", "--tokens", "5"}).code == 0);
  CHECK_THAT(message_of(ErrorKind::checkpoint, [&] { load_training_point(shop / "out"); }),
             Contains("optimizer.safetensors: No such file"));
}
