#pragma once
// What a model's folder holds, in words.

#include <filesystem>
#include <string>

namespace moe {

// Sizes, parameters, vocabulary, training options, losses, files with their checksums, weights and health of
// the experts, as lines of text; curves are `columns` wide. `folder` is a run's folder or that of one of its
// models; what a run has left beside its model (metrics.jsonl, routing.jsonl) is looked for there, and in the
// folder above when there is none. Throws ErrorKind::checkpoint when there is no model or it cannot be
// trusted.
std::string inspect_model(const std::filesystem::path& folder, size_t columns);

}  // namespace moe
