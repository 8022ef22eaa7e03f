#pragma once
// The options of train_moe, made from the lists of fields in model/config.h.

#include <CLI/CLI.hpp>
#include <string>

#include "model/config.h"
#include "model/tokenizer.h"

namespace moe {

struct TrainOptions {
  std::string text;
  std::string out = "out";
  std::string device = "auto";
  int threads = 0;
  bool print_config = false;
  TokenizerKind tokenizer = TokenizerKind::character;
  int64_t vocab_size = 4096;  // of byte pairs
  ModelConfig model;
  TrainConfig training;
};

// An option for every field: top_k becomes --top-k. A configuration file (--config) is read before any of
// them takes effect, so that they win over it.
void add_train_options(CLI::App& app, TrainOptions& options);

// The device that --device names. `why` says, in a few words, how "auto" was decided.
// Throws ErrorKind::usage when there is no such device.
Device choose_device(const std::string& name, std::string& why);

}  // namespace moe
