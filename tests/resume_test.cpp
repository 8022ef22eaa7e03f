// What a run goes on from, and what it refuses to go on from.

#include "model/resume.h"

#include <cmath>

#include "model/http.h"
#include "model/run_folder.h"
#include "tests/run_shop.h"

using namespace moe;
using namespace moe::test;
using Catch::Matchers::Contains;

namespace {

namespace fs = std::filesystem;

TrainerState some_state() {
  TrainerState s;
  s.step = 12;
  s.seed = 7;
  s.data = DataId::of("text");
  s.metrics_rows = 15;
  s.evaluated = 10;
  s.evaluation = {1.25, std::nan("")};
  s.losses = {1.0 / 3, 0.1, 12, 1, false};
  s.rewind_step = 11;
  s.attempt = 2;
  s.rewinds = 1;
  return s;
}

}  // namespace

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
  refused({"--dropout", "0.5", "--allow-changes"}, 2, "--dropout");      // never the model
  refused({"--tokenizer", "bpe", "--allow-changes"}, 2, "--tokenizer");  // nor its symbols
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
    for (const auto& e : c.weights.entries()) {
      const auto bytes = c.weights.bytes(e);
      all.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    return all;
  };
  CHECK(weights("short") == weights("long"));
  // On request the options of training may differ.
  CHECK(run(shop, shop.resuming("long", {"--max-iters", "22", "--learning-rate", "1e-4", "--allow-changes"}))
            .code == 0);
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

TEST_CASE("the line that resumes a run repeats the options that no checkpoint remembers", "[run]") {
  const RunShop shop;
  const auto line_of = [&](const Arguments& more) {
    Process process(shop.path(), shop.training("my run", 100000000, more));
    REQUIRE(process.says("of the first batch"));
    process.kill(SIGINT);
    CHECK(process.wait() == 130);
    fs::remove_all(shop / "my run");
    const std::string out = process.out();
    return out.substr(out.find("resume  "));
  };
  CHECK(line_of({"--keep", "3", "--tensorboard", "--mlflow=off", "--keep", "0", "--threads", "1", "--device",
                 "cpu", "--dtype", "fp32", "--sample-interval", "1000000"}) ==
        "resume  ./train_moe text.txt --resume --out 'my run' --keep 0 --save-interval 5 "
        "--sample-interval 1000000 --no-report --tensorboard --mlflow=off --device cpu --dtype fp32 "
        "--threads 1\n");
  if (!kWithHttp) return;
  CHECK(line_of({"--no-report=false", "--mlflow=http://me:secret@127.0.0.1:9"}) ==
        "resume  ./train_moe text.txt --resume --out 'my run' --save-interval 5 --no-report=false "
        "--mlflow=http://127.0.0.1:9\n");
}

TEST_CASE("the command that is printed after training can be pasted into a shell", "[run]") {
  const RunShop shop;
  const Result trained = run(shop, shop.training("my run", 2));
  REQUIRE(trained.code == 0);
  CHECK_THAT(trained.out, Contains("more    ./generate --checkpoint 'my run'\n"));
}

TEST_CASE("a run is resumed from inside its own folder, by the name of its checkpoint", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 6)).code == 0);
  Process inside(shop / "out", {"train_moe", "../text.txt", "--resume", "step-00000006"});
  CHECK(inside.wait() == 0);
  CHECK_THAT(inside.out(), Contains("resume  step-00000006, after 6 steps"));
  Process deep(shop / "out/step-00000006", {"train_moe", "../../text.txt", "--resume", "."});
  CHECK(deep.wait() == 0);
  CHECK_THAT(deep.out(), Contains("saved   .. after 6 steps"));
  CHECK(!fs::exists(shop / "out/previous-1"));
}

TEST_CASE("what stands beside a copied checkpoint is not taken for its run's", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 6)).code == 0);
  for (const char* copy : {"home/copy", "home/step-00000006"}) {
    CAPTURE(copy);
    fs::create_directory(shop / "home");
    fs::copy(shop / "out/step-00000006", shop / copy, fs::copy_options::recursive);
    for (const char* file : {"home/metrics.jsonl", "home/config.json"}) std::ofstream(shop / file) << "mine";
    const Result refused = run(shop, {"train_moe", "text.txt", "--resume", copy});
    CHECK(refused.code == 2);
    CHECK_THAT(refused.err, Contains("give --out a folder to go on in"));
    CHECK(std::ranges::count(refused.err, '\n') == 1);
    CHECK(file_text(shop / "home/config.json") == "mine");
    // Elsewhere they do not come along; on request the run goes on among them, and they are moved aside.
    REQUIRE(run(shop, {"train_moe", "text.txt", "--resume", copy, "--out", "other"}).code == 0);
    CHECK(file_text(shop / "other/metrics.jsonl").empty());
    REQUIRE(run(shop, {"train_moe", "text.txt", "--resume", copy, "--out", "home"}).code == 0);
    CHECK(load_training_point(shop / "home").state.step == 6);
    CHECK(file_text(shop / "home/previous-1/metrics.jsonl") == "mine");
    CHECK(file_text(shop / "home/previous-1/config.json") == "mine");
    for (const char* used : {"home", "other"}) fs::remove_all(shop / used);
  }
}

TEST_CASE("a checkpoint whose exchange was cut short is back before a run is resumed", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 12)).code == 0);
  fs::rename(shop / "out/step-00000012", shop / "out/step-00000012.tmp.older");
  const Result r = run(shop, shop.resuming("out"));
  CHECK(r.code == 0);
  CHECK_THAT(r.out, Contains("resume  out/step-00000012, after 12 steps"));
}

TEST_CASE("a run that is still going on is not resumed", "[run]") {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("out", 12)).code == 0);
  const RunFolder busy(shop / "out");
  for (const char* from : {"auto", "out", "out/latest"}) {
    const Result r = run(shop, {"train_moe", "text.txt", "--resume", from});
    CHECK(r.code == 2);
    CHECK_THAT(r.err, Contains("another run writes to this folder"));
    CHECK(r.out.empty());
  }
  CHECK(run(shop, {"train_moe", "--resume", "--print-config"}).code == 0);
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
  CHECK_THAT(refusal("\"rewind_step\": 11", "\"rewind_step\": 13"), Contains("after step 12"));
  CHECK_THAT(refusal("\"attempt\": 2", "\"attempt\": 9223372036854775807"), Contains("no count"));
  std::string older = text;
  older.replace(older.find("  \"rewind_step\": 11,\n"), 21, "");
  CHECK(trainer_state_from_json(older, "state").rewind_step == 12);
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
