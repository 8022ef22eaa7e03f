#pragma once
// What a report shows of a run's model, once or again and again while it trains.

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/data.h"
#include "model/report.h"

namespace moe {

// The folder of a run's model: the run's own, else "latest" or "best" inside it; nothing when none of them
// has a model.safetensors.
std::optional<std::filesystem::path> model_folder(const std::filesystem::path& run);

// The text of each token id.
std::vector<std::string> symbols_of(const Tokenizer& tokenizer);

// What a routing map is drawn of.
struct Passage {
  std::vector<int32_t> ids;
  std::string note;  // what it is
};
// The beginning of the part that validates; `origin` names the text.
Passage validation_passage(const Corpus&, const ModelConfig&, const std::string& origin);
// One that the model writes.
Passage written_passage(const Checkpoint&, const MoeLm&, uint64_t seed);

// The routing of a passage with the tokens' text.
RoutingMap map_passage(const MoeLm&, const Passage&, const std::vector<std::string>& symbols);

// Rewrites a run's page while it trains.
class LiveReport {
 public:
  // `about` and `symbols` as in ReportInput.
  LiveReport(std::filesystem::path folder, std::string about, std::vector<std::string> symbols,
             Passage passage);

  // Reads the folder's metrics.jsonl and routing.jsonl, runs the model over the passage and replaces the
  // page; at the end of a run (`last`) its figures too. Not last, it does nothing until fifty times as long
  // has passed as the update before took, so that pages cost no more than 2 % of the time.
  void update(const MoeLm& model, bool last);

 private:
  using Clock = std::chrono::steady_clock;

  std::filesystem::path folder_;
  ReportInput input_;
  Passage passage_;
  Clock::time_point next_ = Clock::time_point::min();
};

}  // namespace moe
