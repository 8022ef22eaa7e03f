#pragma once
// The options of train_moe, made from the lists of fields in model/config.h.

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/device_options.h"
#include "model/config.h"
#include "model/resume.h"
#include "model/run.h"
#include "model/tracking.h"

namespace moe {

struct TrainOptions {
  std::string text;
  std::string out = "out";
  DeviceOptions device;
  int threads = 0;
  bool print_config = false;
  RunOptions run;
  TrackingOptions tracking;
  bool report = true;  // pictures of the run
  bool allow_changes = false;
  std::optional<RunFolder> folder;      // open once --resume has found it
  std::optional<TrainingPoint> resume;  // the checkpoint to go on from
  std::vector<std::string> damaged;     // newer ones that could not be taken, a line each
  std::string repeated;                 // what resume_command repeats, since no checkpoint remembers it
  ModelConfig model;
  TrainConfig training;
};

// An option for every field: top_k becomes --top-k. What --resume finds is read first, then a configuration
// file (--config), then the options take effect: each wins over those before.
void add_train_options(CLI::App& app, TrainOptions& options);

// A word that a shell reads as it is meant.
std::string shell_word(const std::string& text);

// The command that continues this run: with its text, its folder and the options of the groups Run and
// Tracking that were given, but for passwords.
std::string resume_command(const TrainOptions& options);

}  // namespace moe
