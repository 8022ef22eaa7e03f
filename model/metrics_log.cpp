#include "model/metrics_log.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

namespace moe {
namespace {

// The length of the first `rows` whole lines, or of all when there are fewer; `rows` becomes their number and
// `last` the last of them.
int64_t length_of_lines(const std::filesystem::path& path, int64_t& rows, std::string& last) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  int64_t length = 0, found = 0;
  while (found < rows && std::getline(file, line) && !file.eof()) {
    length += static_cast<int64_t>(line.size()) + 1;
    ++found;
    last.swap(line);
  }
  rows = found;
  return length;
}

}  // namespace

std::string to_json(const MetricRow& row) {
  nlohmann::ordered_json object = {{"step", row.step}, {"time", std::round(row.time * 1e3) / 1e3}};
  for (const auto& [name, value] : row.values)
    object[name] = std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  return object.dump();
}

std::optional<MetricRow> row_from_json(std::string_view line) {
  const auto object = nlohmann::ordered_json::parse(line, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  const auto step = object.find("step"), time = object.find("time");
  if (step == object.end() || !step->is_number_integer() || time == object.end() || !time->is_number())
    return std::nullopt;
  MetricRow row{step->get<int64_t>(), time->get<double>(), {}};
  for (const auto& [name, value] : object.items()) {
    if (name == "step" || name == "time") continue;
    if (!value.is_number() && !value.is_null()) return std::nullopt;
    row.values.emplace_back(name,
                            value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
  }
  return row;
}

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t rows)
    : rows_(rows), file_(path, LogFile::Existing::keep) {
  std::string last;
  file_.cut(length_of_lines(path, rows_, last));
  last_kept_ = row_from_json(last);
}

void MetricsLog::append(const MetricRow& row) {
  file_.append(as_bytes(to_json(row) + "\n"));
  ++rows_;
}

}  // namespace moe
