#include "model/metrics_log.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace moe {
namespace {

// The length of the first `rows` whole lines, or of all when there are fewer; `rows` becomes their number.
int64_t length_of_lines(const std::filesystem::path& path, int64_t& rows) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  int64_t length = 0, found = 0;
  while (found < rows && std::getline(file, line) && !file.eof()) {
    length += static_cast<int64_t>(line.size()) + 1;
    ++found;
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

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t rows)
    : rows_(rows), file_(path, LogFile::Existing::keep) {
  file_.cut(length_of_lines(path, rows_));
}

void MetricsLog::append(const MetricRow& row) {
  file_.append(as_bytes(to_json(row) + "\n"));
  ++rows_;
}

}  // namespace moe
