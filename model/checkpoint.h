#pragma once
// A trained model on disk: a folder of three files that Hugging Face's libraries can open as well.
//
//   config.json        what the model is and how it was trained
//   tokenizer.json     its characters or tokens
//   model.safetensors  its parameters; the metadata holds the step, the losses, and checksums of all files
//
// A checkpoint that training can go on from holds two more:
//
//   optimizer.safetensors  the optimizer's moments and step counts, see model/optimizer.h
//   trainer_state.json     see model/trainer_state.h
//
// The files cannot be replaced in one move. They are all written beside their targets first, where a full
// disk leaves the old model as it was, and then renamed. Should the machine stop between two renames, the
// checksums tell that the files do not belong together. (A run makes each checkpoint in a new folder and then
// moves that, see model/run_folder.h.) To use a model, checksums that are absent are not asked for, so that
// other programs can make models for this one; to go on training from it, all must be there.

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "autograd/var.h"
#include "core/safetensors.h"
#include "model/config.h"
#include "model/tokenizer.h"
#include "model/trainer_state.h"

namespace moe {

inline constexpr const char* kConfigFile = "config.json";
inline constexpr const char* kTokenizerFile = "tokenizer.json";
inline constexpr const char* kWeightsFile = "model.safetensors";
inline constexpr const char* kOptimizerFile = "optimizer.safetensors";
inline constexpr const char* kStateFile = "trainer_state.json";

// What training needs to go on, besides the model.
struct TrainingFiles {
  std::vector<NamedTensor> optimizer;
  TrainerState state;
};

// Creates the folder if need be. Returns the bytes written. Throws ErrorKind::resource, with the bytes that
// all files need, and ErrorKind::usage for more tokens than load_checkpoint reads; the older model in the
// folder is intact then.
int64_t save_checkpoint(const std::filesystem::path& folder, const ModelConfig&, const TrainConfig&,
                        const Tokenizer&, std::span<const Parameter>, Metadata = {},
                        const TrainingFiles* = nullptr);

struct Checkpoint {
  ModelConfig model;
  TrainConfig training;
  Tokenizer tokenizer;
  Safetensors weights;

  // Throws ErrorKind::checkpoint, naming the tensors, unless the file holds these parameters, which are those
  // of a model built from `model` on any device, with their shapes and types, and no others.
  void check(std::span<const Parameter>) const;
  // Fills them once they have passed the check.
  void copy_to(std::span<const Parameter>) const;
  // An entry of the metadata given to save_checkpoint, or "" when there is none.
  std::string note(const std::string& key) const;
};

// The folder that a checkpoint's name stands for: in a run's folder, the newest checkpoint.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& folder);

// Throws ErrorKind::checkpoint, naming the file and what is wrong with it. What it returns is safe to build a
// model from: the configuration is valid, fits the tokenizer, which is not empty, and asks for as many
// parameters as the file holds. The folder may be that of a run.
Checkpoint load_checkpoint(const std::filesystem::path& folder);

// A checkpoint that training can go on from.
struct TrainingPoint {
  std::filesystem::path folder;
  Checkpoint checkpoint;
  Safetensors optimizer;
  TrainerState state;
};

// Throws ErrorKind::checkpoint unless all five files are there and belong together.
TrainingPoint load_training_point(const std::filesystem::path& folder);

}  // namespace moe
