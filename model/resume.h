#pragma once
// May a run be continued with these options? It may when the run that made the checkpoint would have made it
// with them too, bit for bit.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"

namespace moe {

// What a continued run would do differently in the steps already made, each as "--top-k is 2 there, 1 here".
// Free to change: when and how losses are estimated, patience and max_rewinds; and max_iters, learning rate
// and schedule as long as every step already made has the learning rate it had.
std::vector<std::string> differences(const TrainingPoint&, const ModelConfig&, const TrainConfig&);

// Throws ErrorKind::usage, naming all differences, unless there are none. With allow_changes those of the
// training options are let through, never those of the model.
void require_same_run(const TrainingPoint&, const ModelConfig&, const TrainConfig&, bool allow_changes);
// Throws ErrorKind::data unless the text is the one that the run was trained on.
void require_same_text(const TrainingPoint&, const std::string& path, const DataId& text);

// The newest whole checkpoint in a run's folder that training can go on from; nothing when the folder holds
// no checkpoint. Those that are damaged are told to `skipped`, as one line each. Throws ErrorKind::checkpoint
// when all are damaged.
std::optional<TrainingPoint> find_training_point(const std::filesystem::path& folder,
                                                 std::vector<std::string>& skipped);

}  // namespace moe
