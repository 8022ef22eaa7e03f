#pragma once
// metrics.jsonl: a line for each row of numbers, {"step": 12, "time": 1700000000.123, "loss": 2.5, ...}. What
// is not finite is null.

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/log_file.h"
#include "model/metrics.h"

namespace moe {

// Without a line break.
std::string to_json(const MetricRow&);

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

 private:
  int64_t rows_ = 0;
  LogFile file_;
};

}  // namespace moe
