#pragma once
// metrics.jsonl: a line for each row of numbers, {"step": 12, "time": 1700000000.123, "loss": 2.5, ...}. What
// is not finite is null.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "core/log_file.h"
#include "model/metrics.h"

namespace moe {

inline constexpr const char* kMetricsFile = "metrics.jsonl";

// Without a line break.
std::string to_json(const MetricRow&);
// And back; null is NaN. Nothing for what is no such line.
std::optional<MetricRow> row_from_json(std::string_view line);

class MetricsLog {
 public:
  // Keeps the first `rows` lines of the file and goes on behind them. Fewer may be there, or no file at all;
  // what follows them, half a line too, is cut off. All throw ErrorKind::resource with the path and the
  // reason.
  MetricsLog(const std::filesystem::path&, int64_t rows);

  void append(const MetricRow&);
  // Returns when all rows are on the disk.
  void sync() { file_.sync(); }
  int64_t rows() const { return rows_; }
  // The last of the rows that were kept at the start, if there were any and it is one.
  const std::optional<MetricRow>& last_kept() const { return last_kept_; }

 private:
  int64_t rows_ = 0;
  std::optional<MetricRow> last_kept_;
  LogFile file_;
};

}  // namespace moe
