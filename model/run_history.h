#pragma once
// What a run has left about itself in its folder, as curves: metrics.jsonl and routing.jsonl.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "model/metrics_log.h"
#include "model/routing_log.h"

namespace moe {

struct Point {
  int64_t step = 0;
  double value = 0;  // finite
};
using Series = std::vector<Point>;  // steps rise strictly

// What a run is called: the last part of its folder's path, also of "." and "out/".
std::string folder_name(const std::filesystem::path& folder);

struct RunHistory {
  std::string name;                       // of the folder
  std::map<std::string, Series> metrics;  // by the names of metrics.jsonl
  int64_t skipped_metrics = 0;            // lines that could not be used
  RoutingHistory routing;

  // Empty for a name that no row has.
  const Series& metric(const std::string& name) const;
  // One past the last step that any row speaks of.
  int64_t steps() const;
};

// Missing files are empty; lines that are no JSON object with a step (such as a last one cut short) are left
// out and counted; values that are no finite number are left out. Where steps come a second time, as after a
// restart, the later rows count. Throws ErrorKind::data for a file that is there but cannot be read.
RunHistory read_history(const std::filesystem::path& folder);

std::vector<double> values_of(const Series& series);

// Experts of a window that no token was sent to, by layer.
struct DeadExpert {
  int64_t layer = 0, expert = 0;
};
std::vector<DeadExpert> dead_experts(const RoutingWindow& window);

}  // namespace moe
