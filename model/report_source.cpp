#include "model/report_source.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "model/generate.h"

namespace moe {

std::optional<std::filesystem::path> model_folder(const std::filesystem::path& run) {
  std::error_code ignored;
  for (const auto& folder : {run, run / "latest", run / "best"})
    if (std::filesystem::is_regular_file(folder / "model.safetensors", ignored)) return folder;
  return {};
}

std::vector<std::string> symbols_of(const Tokenizer& tokenizer) {
  std::vector<std::string> symbols;
  symbols.reserve(static_cast<size_t>(tokenizer.size()));
  for (int32_t id = 0; id < tokenizer.size(); ++id) symbols.push_back(tokenizer.decode(id));
  return symbols;
}

Passage validation_passage(const Corpus& corpus, const ModelConfig& config, const std::string& origin) {
  const std::span<const int32_t> ids = corpus.validation();
  const auto length = std::min(ids.size(), static_cast<size_t>(map_length(config)));
  return {{ids.begin(), ids.begin() + static_cast<ptrdiff_t>(length)},
          fmt::format("The beginning of the validation text of {}.", origin)};
}

Passage written_passage(const Checkpoint& checkpoint, const MoeLm& model, uint64_t seed) {
  return {
      write_passage(model, default_prompt(checkpoint.tokenizer).back(), map_length(checkpoint.model), seed),
      fmt::format("A text that the model wrote (seed {}).", seed)};
}

RoutingMap map_passage(const MoeLm& model, const Passage& passage, const std::vector<std::string>& symbols) {
  RoutingMap map = map_routing(model, passage.ids);
  for (const int32_t id : passage.ids) map.pieces.push_back(symbols.at(static_cast<size_t>(id)));
  return map;
}

LiveReport::LiveReport(std::filesystem::path folder, std::string about, std::vector<std::string> symbols,
                       Passage passage)
    : folder_(std::move(folder)), passage_(std::move(passage)) {
  input_.about = std::move(about);
  input_.symbols = std::move(symbols);
  input_.map_note = passage_.note;
}

void LiveReport::update(const MoeLm& model, bool last) {
  constexpr int kRest = 50;
  const Clock::time_point start = Clock::now();
  if (!last && start < next_) return;
  input_.runs.assign(1, read_history(folder_));
  input_.map = map_passage(model, passage_, input_.symbols);
  write_report(folder_, make_report(input_), last);
  input_.runs.clear();
  malloc_trim(0);  // what so many small pieces leave free would stay with the process
  const Clock::time_point end = Clock::now();
  next_ = end + kRest * (end - start);
}

}  // namespace moe
