#pragma once
// A trained model on disk: a folder of three files that Hugging Face's libraries can open as well.
//
//   config.json        what the model is and how it was trained
//   tokenizer.json     its characters or tokens
//   model.safetensors  its parameters; the metadata holds the step, the losses, and checksums of all three
//   files
//
// Three files cannot be replaced in one move. They are all written beside their targets first, where a full
// disk leaves the old model as it was, and then renamed. Should the machine stop between two renames, the
// checksums tell that the files do not belong together. Checksums that are absent are not asked for, so that
// other programs can make models for this one.

#include <filesystem>
#include <span>

#include "autograd/var.h"
#include "core/safetensors.h"
#include "model/config.h"
#include "model/tokenizer.h"

namespace moe {

// Creates the folder if need be. Throws ErrorKind::resource; the older model in the folder is intact then.
void save_checkpoint(const std::filesystem::path& folder, const ModelConfig&, const TrainConfig&,
                     const Tokenizer&, std::span<const Parameter>, Metadata = {});

struct Checkpoint {
  ModelConfig model;
  TrainConfig training;
  Tokenizer tokenizer;
  Safetensors weights;

  // Fills the parameters of a model that was built from `model`. Throws ErrorKind::checkpoint, naming the
  // tensors, unless the file holds all of them, with their shapes and types, and no others.
  void copy_to(std::span<const Parameter>) const;
  // An entry of the metadata given to save_checkpoint, or "" when there is none.
  std::string note(const std::string& key) const;
};

// Throws ErrorKind::checkpoint, naming the file and what is wrong with it. What it returns is safe to build a
// model from: the configuration is valid, fits the tokenizer, and asks for as many parameters as the file
// holds.
Checkpoint load_checkpoint(const std::filesystem::path& folder);

}  // namespace moe
