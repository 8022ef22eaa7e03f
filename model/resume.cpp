#include "model/resume.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>

#include "model/json.h"
#include "model/run_folder.h"
#include "model/schedule.h"

namespace moe {
namespace {

using nlohmann::json;

// Changes no weight.
constexpr std::array<std::string_view, 5> kFree = {"eval_interval", "eval_iters", "eval_full", "patience",
                                                   "max_rewinds"};
// Act through the learning rate of each step, and only so.
constexpr std::array<std::string_view, 6> kRates = {"max_iters",    "learning_rate", "schedule",
                                                    "warmup_iters", "decay_iters",   "min_learning_rate"};

bool is_one_of(std::span<const std::string_view> names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

bool same_rates(const TrainConfig& a, const TrainConfig& b, int64_t steps) {
  for (int64_t step = 0; step < steps; ++step)
    if (learning_rate_at(a, step) != learning_rate_at(b, step)) return false;
  return true;
}

void compare(const json& there, const json& here, std::vector<std::string>& found, const auto& is_free) {
  for (const auto& [field, value] : there.items())
    if (value != here.at(field) && !is_free(field))
      found.push_back(
          fmt::format("{} is {} there, {} here", option_name(field), value.dump(), here.at(field).dump()));
}

}  // namespace

std::vector<std::string> differences(const TrainingPoint& point, const ModelConfig& model,
                                     const TrainConfig& training) {
  const Checkpoint& c = point.checkpoint;
  const json there = json::parse(to_json(c.model, c.training)), here = json::parse(to_json(model, training));
  const bool rates_agree = same_rates(c.training, training, point.state.step);
  std::vector<std::string> found;
  compare(there.at("model"), here.at("model"), found, [](const std::string&) { return false; });
  compare(there.at("training"), here.at("training"), found, [&](const std::string& field) {
    return is_one_of(kFree, field) || (is_one_of(kRates, field) && rates_agree);
  });
  return found;
}

void require_same_run(const TrainingPoint& point, const ModelConfig& model, const TrainConfig& training,
                      bool allow_changes) {
  if (training.max_iters < point.state.step)
    throw error(ErrorKind::usage, "{} has made {} steps already; --max-iters {} is less",
                point.folder.string(), point.state.step, training.max_iters);
  TrainConfig compared = training;
  if (allow_changes) {  // of what training could change, which does not include the text's pieces
    compared = point.checkpoint.training;
    compared.tokenizer = training.tokenizer;
    compared.vocab_size = training.vocab_size;
  }
  const auto found = differences(point, model, compared);
  if (!found.empty())
    throw error(ErrorKind::usage, "{} cannot be continued with other options: {}{}", point.folder.string(),
                fmt::join(found, "; "),
                allow_changes ? "" : " (--allow-changes lets those of training differ)");
}

void require_same_text(const TrainingPoint& point, const std::string& path, const DataId& here) {
  const DataId& there = point.state.data;
  if (here != there)
    throw error(ErrorKind::data,
                "{} is not the text that {} was trained on: it has {} bytes and the checksum {:08x}, not {} "
                "bytes and {:08x}",
                path, point.folder.string(), here.bytes, here.crc32c, there.bytes, there.crc32c);
}

std::optional<TrainingPoint> find_training_point(const std::filesystem::path& folder,
                                                 std::vector<std::string>& skipped) {
  for (const auto& checkpoint : checkpoints_in(folder)) {
    try {
      return load_training_point(checkpoint);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::checkpoint) throw;
      skipped.emplace_back(e.what());
    }
  }
  if (!skipped.empty())
    throw error(ErrorKind::checkpoint, "{}: no whole checkpoint to go on from: {}", folder.string(),
                skipped.front());
  return {};
}

}  // namespace moe
