#include "model/run_history.h"

#include "tests/catch.h"
#include "tests/process.h"

using namespace moe;

namespace {

RunHistory read(const TempFolder& folder, const std::string& metrics) {
  std::ofstream(folder / kMetricsFile, std::ios::binary) << metrics;
  return read_history(folder.path());
}

}  // namespace

TEST_CASE("metrics become curves by name", "[run_history]") {
  const TempFolder folder;
  const RunHistory run = read(folder,
                              "{\"step\":0,\"time\":5,\"train_loss\":4.5,\"val_loss\":4.25}\n"
                              "{\"step\":0,\"time\":6,\"loss\":4,\"note\":\"text\",\"list\":[1]}\n"
                              "{\"step\":1,\"time\":7,\"loss\":3.5}\n");
  CHECK(run.name == folder.path().filename().string());
  CHECK(run.metric("loss").size() == 2);
  CHECK(run.metric("loss")[1].step == 1);
  CHECK(run.metric("loss")[1].value == 3.5);
  CHECK(run.metric("val_loss").size() == 1);
  CHECK(run.metric("note").empty());
  CHECK(run.metric("no such").empty());
  CHECK(run.skipped_metrics == 0);
  CHECK(run.steps() == 2);
}

TEST_CASE("lines that are no rows are left out and counted", "[run_history]") {
  const TempFolder folder;
  const std::string good = "{\"step\":3,\"loss\":2}\n";
  for (const char* bad :
       {"{\"step\":4,\"lo", "[]", "{}", "{\"step\":-1,\"loss\":2}", "{\"step\":\"4\",\"loss\":2}",
        "{\"step\":1e300,\"loss\":2}", "\xff\xfe", "{\"step\":4,\"loss\":1e999}"}) {
    INFO(bad);
    const RunHistory run = read(folder, good + bad);
    CHECK(run.skipped_metrics == 1);
    CHECK(run.metric("loss").size() == 1);
  }
  CHECK(read(folder, good + "{\"step\":4,\"loss\":null}\n").skipped_metrics == 0);
}

TEST_CASE("a step that was made again counts as it was made last", "[run_history]") {
  const TempFolder folder;
  const RunHistory run = read(folder,
                              "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":2}\n{\"step\":3,\"loss\":3}\n"
                              "{\"step\":2,\"loss\":20}\n");
  REQUIRE(run.metric("loss").size() == 2);
  CHECK(run.metric("loss")[1].value == 20);
}

TEST_CASE("a folder without files is a run without curves", "[run_history]") {
  const TempFolder folder;
  const RunHistory run = read_history(folder.path());
  CHECK(run.metrics.empty());
  CHECK(run.routing.windows.empty());
  CHECK(run.steps() == 0);
}

TEST_CASE("experts without a token are dead", "[run_history]") {
  RoutingWindow w;
  w.layers.resize(2);
  w.layers[0].load = {1, 2, 3};
  w.layers[1].load = {0, 5, 0};
  const auto dead = dead_experts(w);
  REQUIRE(dead.size() == 2);
  CHECK(dead[1].layer == 1);
  CHECK(dead[1].expert == 2);
}
