#include "model/run_history.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "model/lines.h"

namespace moe {
namespace {

using nlohmann::json;

constexpr int64_t kMostMetricsBytes = int64_t{4} << 30;
constexpr int64_t kMostSteps = int64_t{1} << 53;

// False for a line that is no row.
bool add_row(std::string_view line, std::map<std::string, Series>& metrics) {
  const json row = json::parse(line, nullptr, false);
  if (!row.is_object()) return false;
  const auto at = row.find("step");
  if (at == row.end() || !at->is_number_integer()) return false;
  const auto step = at->get<int64_t>();
  if (step < 0 || step > kMostSteps) return false;
  for (const auto& [name, value] : row.items()) {
    if (name == "step" || !value.is_number() || !std::isfinite(value.get<double>())) continue;
    Series& series = metrics[name];
    while (!series.empty() && series.back().step >= step) series.pop_back();
    series.push_back({step, value.get<double>()});
  }
  return true;
}

}  // namespace

std::string folder_name(const std::filesystem::path& folder) {
  const auto name = std::filesystem::absolute(folder).lexically_normal();
  return (name.has_filename() ? name.filename() : name.parent_path().filename()).string();
}

const Series& RunHistory::metric(const std::string& key) const {
  static const Series kNone;
  const auto it = metrics.find(key);
  return it == metrics.end() ? kNone : it->second;
}

int64_t RunHistory::steps() const {
  int64_t steps = routing.windows.empty() ? 0 : routing.windows.back().end;
  for (const auto& [key, series] : metrics)
    if (!series.empty()) steps = std::max(steps, series.back().step + 1);
  return steps;
}

RunHistory read_history(const std::filesystem::path& folder) {
  RunHistory run;
  run.name = folder_name(folder);
  std::error_code ignored;
  if (std::filesystem::exists(folder / kMetricsFile, ignored)) {
    const std::string text = read_file(folder / kMetricsFile, ErrorKind::data, kMostMetricsBytes);
    for_each_line(text, [&](std::string_view line) { run.skipped_metrics += !add_row(line, run.metrics); });
  }
  run.routing = read_routing(folder / kRoutingFile);
  return run;
}

std::vector<double> values_of(const Series& series) {
  std::vector<double> values;
  values.reserve(series.size());
  for (const Point& p : series) values.push_back(p.value);
  return values;
}

std::vector<DeadExpert> dead_experts(const RoutingWindow& window) {
  std::vector<DeadExpert> dead;
  for (size_t l = 0; l < window.layers.size(); ++l)
    for (size_t e = 0; e < window.layers[l].load.size(); ++e)
      if (window.layers[l].load[e] == 0) dead.push_back({static_cast<int64_t>(l), static_cast<int64_t>(e)});
  return dead;
}

}  // namespace moe
