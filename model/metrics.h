#pragma once
// What a run reports about itself: numbers with names, at a step. metrics.jsonl, TensorBoard and MLflow get
// the same rows.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moe {

struct MetricRow {
  int64_t step = 0;
  double time = 0;  // seconds since 1970
  std::vector<std::pair<std::string, double>> values;
};

}  // namespace moe
