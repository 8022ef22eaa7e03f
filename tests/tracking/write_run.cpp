// Stands in for a training run: known numbers through the same Tracking that train_moe uses. Prints each step
// once it is logged, so that whoever kills this program knows what must not be lost.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <thread>

#include "model/json.h"
#include "model/tracking.h"

namespace {

using namespace moe;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

MetricRow row_of(int64_t step) {
  const double x = static_cast<double>(step);
  MetricRow row;
  row.step = step;
  row.time = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  row.values = {
      {"loss", 1.5 + 2.7 * std::exp(-x / 40)}, {"lr", 1e-3 / (1 + x)}, {"grad_norm", 1 + std::sin(x)}};
  if (step % 10 == 0)
    row.values.insert(row.values.end(), {{"train_loss", 4.2 / (1 + x)}, {"val_loss", 4.3 / (1 + x)}});
  if (step == 7) row.values.emplace_back("grad_noise", std::numeric_limits<double>::quiet_NaN());
  return row;
}

std::string json_line(const MetricRow& row) {
  nlohmann::ordered_json line = {{"step", row.step}, {"time", row.time}};
  for (const auto& [name, value] : row.values) line[name] = number_to_json(value);
  return line.dump() + "\n";
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("Logs a run of known numbers.", "moe_write_run");
  std::string out;
  int64_t first = 0, steps = 100, pause = 0;
  int code = 0;
  TrackingOptions options;
  app.add_option("OUT", out)->required();
  app.add_option("--resume-at", first, "go on at this step");
  app.add_option("--steps", steps, "the step before which the run ends");
  app.add_option("--pause", pause, "milliseconds a step");
  app.add_option("--exit-code", code, "how the run is to end");
  app.add_flag("--tensorboard", options.tensorboard);
  app.add_flag("--mlflow{on}", options.mlflow);
  CLI11_PARSE(app, argc, argv);

  create_folder(out);
  write_file(out + "/config.json", "{\"n_layer\": 8}\n");
  write_file(out + "/model.safetensors", std::string(3'000'000, 'w'));
  const auto say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  ModelConfig model;
  model.vocab_size = 65;
  Tracking tracking(options, out, tracking_params(model, {}, "cpu"), first, first > 0, {}, say);
  std::ofstream metrics(out + "/metrics.jsonl", first > 0 ? std::ios::app : std::ios::trunc);
  double total = 0, longest = 0;
  for (int64_t step = first; step < steps; ++step) {
    const MetricRow row = row_of(step);
    const auto start = Clock::now();
    tracking.log(row);
    total += seconds_since(start);
    longest = std::max(longest, seconds_since(start));
    metrics << json_line(row) << std::flush;
    fmt::print("{}\n", step);
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::milliseconds(pause));
  }
  const auto start = Clock::now();
  tracking.finish(code, {"config.json", "model.safetensors"});
  fmt::print(stderr, "logging took {:.1f} us a row, {:.1f} at most; the end {:.2f} s\n",
             1e6 * total / static_cast<double>(std::max<int64_t>(steps - first, 1)), 1e6 * longest,
             seconds_since(start));
  return 0;
} catch (const moe::Error& e) {
  fmt::print(stderr, "moe_write_run: {}\n", e.what());
  return e.exit_code();
}
