#pragma once
// The folder of a training run.
//
//   step-00000500/   a checkpoint, see model/checkpoint.h
//   latest           a link to the newest checkpoint
//   best             a link to the one with the lowest validation loss
//   config.json, tokenizer.json, model.safetensors, optimizer.safetensors, trainer_state.json
//                    links into latest: the folder itself can be used as a checkpoint
//   metrics.jsonl, samples/, divergence.log
//   previous-1/      an older run that was found here, whole
//   .lock            held by the process that writes
//
// A checkpoint is made under the name step-00000500.tmp, put in place in one move, and only then become
// `best` and at last `latest` links to it: whatever moment the machine stops at, `latest` is whole.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"

namespace moe {

// "step-00000500"
std::string step_name(int64_t step);

// The checkpoints in a run's folder, the one of `latest` first, then the others from the newest to the
// oldest.
std::vector<std::filesystem::path> checkpoints_in(const std::filesystem::path& folder);

// The run's folder that a checkpoint stands in: it has the name of a step, and `latest` stands beside it.
// Empty for any other, such as a copy; what stands beside that is not a run's.
std::filesystem::path run_folder_of(const std::filesystem::path& checkpoint);

class RunFolder {
 public:
  // Creates the folder, locks it and removes what a killed run left half done. Throws ErrorKind::resource,
  // and ErrorKind::usage when another process holds the lock.
  explicit RunFolder(std::filesystem::path folder);

  const std::filesystem::path& path() const { return folder_; }
  // What `latest` stands for; empty when there is no checkpoint yet.
  std::filesystem::path latest() const;

  // Moves a run that is found here, and anything else whose name a run would use, into a folder of its own
  // inside, and returns that; nothing when there is nothing to lose.
  std::optional<std::filesystem::path> set_aside();

  // Saves the checkpoint of a step: `write` makes its files in the folder it is given and returns their
  // bytes. When the checkpoint of best_step is there, `best` becomes a link to it. Throws ErrorKind::resource
  // with the path, the bytes needed and the reason; the older checkpoints are intact then, and no temporary
  // file is left.
  void save(int64_t step, int64_t best_step,
            const std::function<int64_t(const std::filesystem::path&)>& write);

  // Removes all checkpoints but the newest `keep`, those of `latest` and `best` and that of rewind_step; a
  // `keep` of 0 keeps all.
  void prune(int64_t keep, int64_t rewind_step) const;

 private:
  void link(const char* name, const std::string& target) const;

  std::filesystem::path folder_;
  FolderLock lock_;
};

}  // namespace moe
