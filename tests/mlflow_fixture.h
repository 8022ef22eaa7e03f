#pragma once
// A run of known numbers, reported to tests/fake_mlflow.h, and what the server must hold then.

#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <optional>

#include "model/mlflow.h"
#include "tests/fake_mlflow.h"
#include "tests/process.h"

inline const moe::NamedTexts kParams = {{"batch_size", "16"}, {"top_k", "2"}, {"max_iters", "5000"}};

// Impatient, so that the tests need not wait.
inline moe::MlflowSettings settings_for(const std::string& url) {
  moe::MlflowSettings s;
  s.server.url = url;
  s.limits = {1, 0.3, size_t{1} << 20};
  s.batch_seconds = s.retry_seconds = 0.01;
  s.exit_seconds = 20;
  s.outage_seconds = 0.5;
  return s;
}

inline moe::MetricRow row_of(int64_t step) {
  const double x = static_cast<double>(step);
  moe::MetricRow row{step, 1700000000.25 + x, {{"train_loss", 1 / (1 + x)}, {"val_loss", 0.1 + x}}};
  if (step == 3) row.values.emplace_back("broken", std::numeric_limits<double>::quiet_NaN());
  return row;
}

// What a server must hold once after the rows 0 to count - 1.
inline std::set<FakeMlflow::Metric> metrics_up_to(int64_t count) {
  std::set<FakeMlflow::Metric> wanted;
  for (int64_t step = 0; step < count; ++step)
    for (const auto& [name, value] : row_of(step).values)
      wanted.emplace(name, step, 1700000000250 + 1000 * step,
                     std::isnan(value) ? "\"NaN\"" : nlohmann::json(value).dump());
  return wanted;
}

// A run's folder with a model in it, and what was said.
struct RunFolder : TempFolder {
  std::vector<std::string> said;
  moe::Mlflow::Say say = [this](const std::string& line) { said.push_back(line); };

  RunFolder() {
    std::ofstream(*this / "config.json") << "{}";
    std::ofstream(*this / "model.safetensors", std::ios::binary) << std::string(3'000'000, '\x07');
  }
  std::string all_said() const { return fmt::format("{}", fmt::join(said, "\n")); }
  std::filesystem::path spool() const { return moe::find_spools(path()).at(0); }

  void log_run(const std::string& url, int64_t rows, std::optional<int64_t> resumed_at = {},
               const moe::NamedTexts& params = kParams, moe::RunStatus status = moe::RunStatus::finished) {
    moe::Mlflow mlflow(settings_for(url), path(), params, resumed_at, say);
    for (int64_t step = resumed_at.value_or(0); step < rows; ++step) mlflow.log(row_of(step));
    mlflow.finish(status, {"config.json", "model.safetensors"});
  }
  void send_rest(const std::string& url, bool again = false) const {
    moe::MlflowClient client({url});
    moe::MlflowSender sender(client, spool());
    if (again) sender.start_over();
    while (sender.send_next()) {
    }
    sender.close_run();
  }
};

// Returns once the server has some, or after ten seconds.
inline void wait_for_metrics(const FakeMlflow& server) {
  for (int i = 0; i < 2000 && (server.runs().empty() || server.run().metrics.empty()); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

inline void check_whole(const FakeMlflow& server, const RunFolder& folder, int64_t rows) {
  const auto run = server.run();
  CHECK(run.status == "FINISHED");
  CHECK(run.different_metrics() == metrics_up_to(rows));
  CHECK(run.params == std::map<std::string, std::string>(kParams.begin(), kParams.end()));
  CHECK(run.files.size() == 2);
  CHECK(run.files.at("model.safetensors") == file_text(folder / "model.safetensors"));
}

inline bool without_http() {
  if (!moe::kWithHttp) WARN("skipped: this build has no HTTP client");
  return !moe::kWithHttp;
}
