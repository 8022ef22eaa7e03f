#include "model/progress.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "tests/catch.h"

using namespace moe;

namespace {

// What `talk` makes a Progress write. The clock stands at `now`.
template <class Talk>
std::string output(TerminalStyle style, double& now, Talk&& talk) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* stream = open_memstream(&text, &size);
  {
    Progress progress(stream, style, 100, [&] { return now; });
    talk(progress);
  }
  std::fclose(stream);
  const std::string result(text, size);
  std::free(text);
  return result;
}

StepReport report_of(int64_t step, int64_t max_iters = 1000) {
  StepReport r;
  r.step = step;
  r.max_iters = max_iters;
  r.loss = 2.5;
  r.lr = 1e-3;
  r.grad_norm = 1.25;
  r.seconds = 0.5;
  r.tokens = 512;
  r.busiest_over_mean = 1.5;
  r.dropped_share = 0.125;
  return r;
}

int lines(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

constexpr TerminalStyle kPipe{}, kLive{.live = true}, kColorful{.live = true, .color = true};

}  // namespace

TEST_CASE("a step's line tells all there is to know of it", "[progress]") {
  CHECK(describe(report_of(11), 0.5) ==
        "step 11/1000  loss 2.5000  lr 0.001  grad 1.25  500 ms  1024 tok/s  busiest 1.5x  dropped 12.5%");
}

TEST_CASE("an evaluation's line gives nats and bits", "[progress]") {
  CHECK(describe(EvalReport{500, 2.2743, 2.3040, 1}) ==
        "step    500  train 2.2743  val 2.3040  bits/char 3.28 train, 3.32 val");
  CHECK(describe(EvalReport{500, 2.2743, 2.3040, 1, 0.5}) ==
        "step    500  train 2.2743  val 2.3040  bits/char 1.64 train, 1.66 val");
}

TEST_CASE("durations are given in two units at most", "[progress]") {
  CHECK(describe_duration(0) == "0 s");
  CHECK(describe_duration(59.2) == "1 min 00 s");
  CHECK(describe_duration(754) == "12 min 34 s");
  CHECK(describe_duration(3 * 3600 + 5 * 60) == "3 h 05 min");
  CHECK(describe_duration(1e6) == "11 days");
  CHECK(describe_duration(-1) == "?");
}

TEST_CASE("into a pipe go plain lines: the first step, every tenth of the run, and one in half a minute",
          "[progress]") {
  double now = 0;
  const std::string text = output(kPipe, now, [&](Progress& p) {
    p.first_loss(4.9);
    for (int64_t step = 0; step < 250; ++step) p.step(report_of(step));  // 0, 100, 200
    now = 31;
    p.step(report_of(250));
    p.step(report_of(251));
    p.evaluating();
    p.evaluation({251, 2.25, 2.5, 3});
  });
  CHECK(lines(text) == 6);
  CHECK(text.find("4.9000") != std::string::npos);
  CHECK(text.find("step 100/") != std::string::npos);
  CHECK(text.find("step 250/") != std::string::npos);
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("on a terminal one line is rewritten, and what must stay stands above it", "[progress]") {
  double now = 0;
  const std::string clear = "\r\x1b[K";
  const std::string text = output(kLive, now, [&](Progress& p) {
    p.step(report_of(0));
    p.step(report_of(1));
    p.evaluation({2, 2.25, 2.5, 3});
    p.step(report_of(2));
  });
  CHECK(lines(text) == 1);
  CHECK(text.find(clear + "step 0/1000") == 0);
  CHECK(text.find(clear + "step 1/1000") != std::string::npos);
  CHECK(text.find(clear + "step      2  train") != std::string::npos);
  CHECK(text.substr(text.size() - clear.size()) == clear);  // the live line is gone in the end
  CHECK(text.find("\x1b[2m") == std::string::npos);         // no colours were asked for
}

TEST_CASE("a live line is never longer than the terminal is wide", "[progress]") {
  double now = 0;
  TerminalStyle style = kLive;
  style.columns = 20;
  const std::string text = output(style, now, [&](Progress& p) { p.step(report_of(0)); });
  CHECK(text == "\r\x1b[K" + describe(report_of(0), 0.5).substr(0, 19) + "\r\x1b[K");
}

TEST_CASE("the best evaluation so far is marked", "[progress]") {
  double now = 0;
  const auto marked = [&](double first, double second) {
    return output(kPipe, now, [&](Progress& p) {
             p.evaluation({0, first, first, 1});
             p.evaluation({1, second, second, 1});
           }).find("best") != std::string::npos;
  };
  CHECK(marked(2, 1.9));
  CHECK(!marked(2, 2));
  CHECK(!marked(2, 2.1));
  const std::string colorful = output(kColorful, now, [&](Progress& p) {
    p.evaluation({0, 2, 2, 1});
    p.evaluation({1, 1, 1, 1});
  });
  CHECK(colorful.find("\x1b[1m") != std::string::npos);
}

TEST_CASE("the time left counts the steps and the evaluations to come", "[progress]") {
  double now = 0;
  const std::string text = output(kPipe, now, [&](Progress& p) {
    p.evaluation({0, 2, 2, 30});
    p.step(report_of(0, 301));  // 300 steps of 0.5 s and 3 evaluations of 30 s to come
  });
  CHECK(text.find("left 4 min 00 s") != std::string::npos);
}

TEST_CASE("what a full disk does not take is known to be lost", "[progress]") {
  std::FILE* full = std::fopen("/dev/full", "w");
  REQUIRE(full);
  {
    Progress progress(full, {}, 100);
    CHECK(progress.lost() == 0);
    progress.note("a line");
    CHECK(progress.lost() == ENOSPC);
  }
  std::fclose(full);
}

TEST_CASE("a stream that is no terminal is not written to as one", "[progress]") {
  std::FILE* file = std::tmpfile();
  const TerminalStyle style = TerminalStyle::of(file);
  CHECK(!style.live);
  CHECK(!style.color);
  std::fclose(file);
}
