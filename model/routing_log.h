#pragma once
// routing.jsonl: the windows of a run's routing statistics, one JSON object a line.
//
//   {"first": 0, "end": 50, "tokens": 25600, "experts": 8, "top_k": 2, "layers": [
//     {"load": [..E], "kept": [..E], "importance": [..E], "entropy": 1.93, "sampled": 3200,
//      "together": [..E(E-1)/2], "symbols": [[id, ..E], ...]}, ...]}
//
// Steps first .. end - 1. "kept" is left out where nothing was dropped, "together" where k is 1. "symbols"
// has the most frequent symbols of the window; id -1 is the sum of the others. The fields are those of
// LayerWindow.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/log_file.h"
#include "model/routing_stats.h"

namespace moe {

inline constexpr const char* kRoutingFile = "routing.jsonl";

// The row, without a line break.
std::string to_json(const RoutingWindow&);
// False, with `window` untouched, for anything but a row as above, whose sizes agree with each other.
bool from_json(std::string_view line, RoutingWindow& window);

// What a run's rows tell.
struct RoutingHistory {
  // In order, without `together` and `symbols`, which take most of a window's memory.
  std::vector<RoutingWindow> windows;
  // The windows of the last quarter of the steps added up, with all that they hold: what the experts have
  // become, without how they got there.
  std::optional<RoutingWindow> recent;
  int64_t skipped = 0;  // lines that could not be used
};
// What is no row (a last line cut short) is left out and counted as skipped; of rows that overlap, as a run
// leaves them that was started over, the later one in the file counts, and so do only those rows that fit the
// last one. A missing file has no rows. Throws ErrorKind::data for one that cannot be read.
RoutingHistory read_routing(const std::filesystem::path& file);

// At most `most` windows, by adding up neighbours.
std::vector<RoutingWindow> coarsen(std::vector<RoutingWindow> windows, size_t most);

// Appends rows during a run. Throws ErrorKind::resource; a row that could not be written leaves no trace.
class RoutingLog {
 public:
  // For a run whose next step is `step`: rows of an earlier run that reach beyond it are dropped, and so is
  // a last line that was cut short. 0 starts anew.
  RoutingLog(const std::filesystem::path& file, int64_t step);

  void append(const RoutingWindow&);

 private:
  LogFile file_;
};

}  // namespace moe
