#pragma once
// What a run remembers besides its weights and moments: trainer_state.json. The same state gives the same
// text; no time of day is in it.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "model/trainer.h"

namespace moe {

// Tells one training text from another.
struct DataId {
  int64_t bytes = 0;
  uint32_t crc32c = 0;

  static DataId of(std::string_view text);
  bool operator==(const DataId&) const = default;
};

struct TrainerState {
  int64_t step = 0;  // steps made; the number of the next one
  int64_t seed = 0;
  DataId data;
  int64_t metrics_rows = 0;  // of metrics.jsonl that belong to the steps made

  int64_t evaluated = -1;  // step of the last evaluation; -1: none yet
  EvalStats evaluation;    // what it found
  int64_t best_step = -1;  // of the lowest validation loss after the first step; -1: none yet
  double best = std::numeric_limits<double>::infinity();
  int64_t evaluations_since_best = 0;

  int64_t rewind_step = 0;  // of the checkpoint that a rewind goes back to
  LossHistory losses;
  int64_t attempt = 0;  // rewinds of the whole run; which batches are drawn depends on it
  int64_t rewinds = 0;  // since rewind_step last became a later one
};

std::string to_json(const TrainerState&);
// Throws ErrorKind::checkpoint, naming `origin`, for text that to_json cannot have made.
TrainerState trainer_state_from_json(const std::string& text, const std::string& origin);

}  // namespace moe
