// Runs that are killed, interrupted, or let down by the disk. The hidden cases, tagged runs, do it often;
// scripts/test_runs.sh runs them.

#include <algorithm>
#include <cerrno>
#include <map>

#include "tests/run_shop.h"

using namespace moe;
using namespace moe::test;

namespace {

namespace fs = std::filesystem;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const char* threads(Dice& dice) {
  return dice.roll(2) ? "1" : "2";
}

// Each cut kills the run at a random moment, and it goes on with another number of threads.
void cut_and_resume(int runs, int cuts_each, int steps) {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("whole", steps)).code == 0);
  const std::string wanted = shop.bytes("whole/latest");
  Dice dice(1);
  int killed = 0;
  for (int i = 0; i < runs; ++i) {
    const std::string out = "cut" + std::to_string(i);
    for (int cut = 0; cut < cuts_each; ++cut) {
      const Arguments more{"--threads", threads(dice)};
      Process process(shop.path(), shop.training(out, steps, {"--resume", more[0], more[1]}));
      if (process.says("device")) pause(dice.roll(steps));
      process.kill(SIGKILL);
      killed += process.wait() == 128 + SIGKILL;
      if (fs::exists(shop.path() / out / "latest")) REQUIRE_NOTHROW(load_training_point(shop.path() / out));
    }
    const Result last = run(shop, shop.training(out, steps, {"--resume", "--threads", threads(dice)}));
    INFO(last.out << last.err);
    REQUIRE(last.code == 0);
    REQUIRE(shop.bytes(out + "/latest") == wanted);
    fs::remove_all(shop.path() / out);
  }
  CHECK(killed >= runs * cuts_each / 4);  // or the cuts came too late to mean anything
}

void interrupt_and_resume(int runs, int steps) {
  const RunShop shop;
  REQUIRE(run(shop, shop.training("whole", steps)).code == 0);
  const std::string wanted = shop.bytes("whole/latest");
  Dice dice(2);
  int interrupted = 0;
  for (int i = 0; i < runs; ++i) {
    const std::string out = "run" + std::to_string(i);
    const int signal = dice.roll(2) ? SIGINT : SIGTERM;
    Process process(shop.path(), shop.training(out, steps));
    REQUIRE(process.says("device"));
    pause(dice.roll(steps / 2));
    process.kill(signal);
    const int code = process.wait();
    if (code != 0) {
      ++interrupted;
      REQUIRE(code == 128 + signal);
      REQUIRE(
          has(process.out(), "resume  ./train_moe text.txt --resume --out " + out + " --save-interval 5"));
    }
    REQUIRE(shop.temporary_files() == 0);
    REQUIRE_NOTHROW(load_training_point(shop.path() / out));
    REQUIRE(run(shop, shop.resuming(out, {"--save-interval", "5", "--threads", threads(dice)})).code == 0);
    // The signal's own checkpoint changes nothing about those after it.
    REQUIRE(shop.bytes(out + "/latest") == wanted);
    fs::remove_all(shop.path() / out);
  }
  CHECK(interrupted >= runs / 2);
}

// The calls to the disk of a run of a few steps with a checkpoint after each, and the same run with one of
// them gone wrong.
struct Faults : RunShop {
  Arguments with(const std::string& out, const Arguments& settings) const {
    Arguments a{"/usr/bin/env", std::string("LD_PRELOAD=") + MOE_FAULTS,
                // The sanitizer wants to be the first library; it need not be.
                "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0", "FAULT_ROOT=" + out};
    a.insert(a.end(), settings.begin(), settings.end());
    Arguments train = training(out, 3, {"--threads", "1", "--save-interval", "1", "--keep", "0"});
    train[0] = std::string(MOE_APPS) + "/" + train[0];
    a.insert(a.end(), train.begin(), train.end());
    return a;
  }
  Result with_fault(const std::string& out, size_t call, int kind) const {
    return run(*this, with(out, {"FAULT_AT=" + std::to_string(call), "FAULT_KIND=" + std::to_string(kind)}));
  }

  Faults() {
    REQUIRE(run(*this, with("whole", {"FAULT_LOG=" + (*this / "log").string()})).code == 0);
    std::ifstream log(*this / "log");
    for (std::string line; std::getline(log, line);) calls.push_back(line);
    REQUIRE(calls.size() > 200);
    wanted = bytes("whole/latest");
    // Call number -> checkpoints complete before it.
    for (size_t i = 0; i < calls.size(); ++i)
      complete.push_back((i > 0 ? complete.back() : 0) + (i > 0 && calls[i - 1] == "rename whole/latest"));
  }

  // Call numbers from 1, about `most` of them, evenly spread, and those that follow a new `latest`.
  std::vector<size_t> spread(size_t most) const {
    std::vector<size_t> numbers;
    const size_t stride = std::max<size_t>(calls.size() / most, 1);
    for (size_t i = 0; i < calls.size(); ++i)
      if (i % stride == 0 || calls[i - 1] == "rename whole/latest") numbers.push_back(i + 1);
    return numbers;
  }

  std::vector<std::string> calls;
  std::vector<int> complete;
  std::string wanted;
};

void kill_at_calls(size_t most) {
  const Faults f;
  size_t killed = 0;
  for (const size_t call : f.spread(most)) {
    INFO("killed at call " << call << " of " << f.calls.size() << ": " << f.calls[call - 1]);
    REQUIRE(f.with_fault("out", call, 0).code == 128 + SIGKILL);
    ++killed;
    const int before = f.complete[call - 1];
    if (before > 0) {
      const TrainingPoint point = load_training_point(f / "out");
      REQUIRE(point.state.step >= before - 1);  // the first is of step 0
      REQUIRE(point.state.step <= before);
    }
    const Result again = run(f, f.training("out", 3, {"--resume", "--threads", "1", "--save-interval", "1"}));
    INFO(again.out << again.err);
    REQUIRE(again.code == 0);
    REQUIRE(f.bytes("out/latest") == f.wanted);
    REQUIRE(f.temporary_files() == 0);
    fs::remove_all(f / "out");
  }
  WARN(killed << " kills at " << f.calls.size() << " calls, nothing lost");
}

void fail_at_calls(size_t most) {
  const Faults f;
  std::map<std::string, int> failed;
  int kind = 0;
  for (const size_t call : f.spread(most)) {
    const std::string &line = f.calls[call - 1], name = line.substr(0, line.find(' '));
    if (name.starts_with("unlink")) continue;  // removing what is in the way: no write
    const int error_number = std::array{ENOSPC, EIO, EFBIG}[kind++ % 3];
    INFO("error " << error_number << " at call " << call << ": " << line);
    const Result r = f.with_fault("out", call, error_number);
    INFO(r.err);
    REQUIRE(r.code == 5);
    REQUIRE(std::ranges::count(r.err, '\n') == 1);
    REQUIRE(has(r.err, "out"));
    REQUIRE(has(r.err, std::generic_category().message(error_number)));
    if (has(line, "step-") || has(line, "latest") || has(line, "best")) REQUIRE(has(r.err, " bytes)"));
    REQUIRE(f.temporary_files() == 0);
    if (f.complete[call - 1] > 0)
      REQUIRE(load_training_point(f / "out").state.step >= f.complete[call - 1] - 1);
    ++failed[name];
    fs::remove_all(f / "out");
  }
  std::string counts;
  for (const auto& [name, count] : failed) counts += " " + std::to_string(count) + " " + name;
  WARN("failed once each:" << counts);
}

}  // namespace

TEST_CASE("a run killed at random moments ends in the bits of one that was not", "[crash]") {
  cut_and_resume(2, 2, 150);
}
TEST_CASE("an interrupted run leaves a whole checkpoint that resumes to the same bits", "[crash]") {
  interrupt_and_resume(3, 150);
}
TEST_CASE("killed at a call to the disk, nothing is lost", "[crash]") {
  kill_at_calls(12);
}
TEST_CASE("a write that fails ends the run with code 5 and leaves no rubbish", "[crash]") {
  fail_at_calls(15);
}

TEST_CASE("runs: 50 runs cut twice at random moments end in the same bits", "[.][runs]") {
  cut_and_resume(50, 2, 300);
}
TEST_CASE("runs: 100 interrupted runs leave a checkpoint that resumes", "[.][runs]") {
  interrupt_and_resume(100, 300);
}
TEST_CASE("runs: killed at every call to the disk, nothing is lost", "[.][runs]") {
  kill_at_calls(1000000);
}
TEST_CASE("runs: every write that fails ends with code 5", "[.][runs]") {
  fail_at_calls(1000000);
}
