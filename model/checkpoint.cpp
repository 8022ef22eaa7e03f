#include "model/checkpoint.h"

#include <fmt/ranges.h>

#include <set>
#include <utility>
#include <vector>

#include "core/crc32c.h"
#include "core/quote.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kTokenizer = "tokenizer.json";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfigChecksum = "config_crc32c";
constexpr const char* kTokenizerChecksum = "tokenizer_crc32c";
constexpr int64_t kMaxConfig = 1 << 20, kMaxTokenizer = 64 << 20;

std::string checksum(std::string_view text) {
  return fmt::format("{:08x}", crc32c(as_bytes(text)));
}

// The metadata's checksum of the file at `path`, when there is one, must be that of its text.
void check_companion(const Safetensors& weights, const char* key, std::string_view text,
                     const fs::path& path) {
  const auto wanted = weights.metadata().find(key);
  if (wanted != weights.metadata().end() && wanted->second != checksum(text))
    throw error(ErrorKind::checkpoint,
                "{}: it is not the file that {} was saved with: its checksum is {}, not {}", path.string(),
                weights.origin(), checksum(text), in_quotes(wanted->second));
}

void check_agreement(const Checkpoint& c, const fs::path& config_path) {
  try {
    c.model.validate();
    c.training.validate(c.model);
  } catch (const Error& e) {
    throw error(ErrorKind::checkpoint, "{}: {}", config_path.string(), e.what());
  }
  if (c.model.vocab_size != c.tokenizer.size())
    throw error(ErrorKind::checkpoint, "{}: vocab_size is {}, but {} has {} {}", config_path.string(),
                c.model.vocab_size, kTokenizer, c.tokenizer.size(), c.tokenizer.units());
  double elements = 0;
  for (const auto& e : c.weights.entries())
    elements += static_cast<double>(e.end - e.begin) / static_cast<double>(size_of(e.dtype));
  if (elements != c.model.parameters())
    throw error(ErrorKind::checkpoint,
                "{}: it holds {:.0f} numbers, but a model of this {} has {:.0f} parameters",
                c.weights.origin(), elements, kConfig, c.model.parameters());
}

// "a, b and 3 more"
std::string list_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  const auto shown = std::span(names).first(std::min(names.size(), kShown));
  std::string list = fmt::format("{}", fmt::join(shown, ", "));
  if (names.size() > kShown) list += fmt::format(" and {} more", names.size() - kShown);
  return list;
}

}  // namespace

void save_checkpoint(const fs::path& folder, const ModelConfig& model, const TrainConfig& training,
                     const Tokenizer& tokenizer, std::span<const Parameter> parameters, Metadata metadata) {
  create_folder(folder);
  const std::string config_json = to_json(model, training), tokenizer_json = tokenizer.to_json();
  metadata[kConfigChecksum] = checksum(config_json);
  metadata[kTokenizerChecksum] = checksum(tokenizer_json);
  std::vector<NamedTensor> tensors;
  for (const Parameter& p : parameters) tensors.push_back({p.name, p.value});
  const SafetensorsImage image(tensors, std::move(metadata));

  const Bytes config_bytes = as_bytes(config_json), tokenizer_bytes = as_bytes(tokenizer_json);
  StagedFile weights(folder / kWeights, image.pieces());
  StagedFile config(folder / kConfig, std::span(&config_bytes, 1));
  StagedFile characters(folder / kTokenizer, std::span(&tokenizer_bytes, 1));
  config.commit();
  characters.commit();
  weights.commit();
}

Checkpoint load_checkpoint(const fs::path& folder) {
  const fs::path config_path = folder / kConfig, tokenizer_path = folder / kTokenizer;
  const std::string config_json = read_file(config_path, ErrorKind::checkpoint, kMaxConfig);
  const std::string tokenizer_json = read_file(tokenizer_path, ErrorKind::checkpoint, kMaxTokenizer);
  Checkpoint c;
  c.weights = Safetensors::read(folder / kWeights);
  check_companion(c.weights, kConfigChecksum, config_json, config_path);
  check_companion(c.weights, kTokenizerChecksum, tokenizer_json, tokenizer_path);
  from_json(config_json, config_path.string(), ErrorKind::checkpoint, c.model, c.training);
  c.tokenizer = Tokenizer::from_json(tokenizer_json, tokenizer_path.string(), ErrorKind::checkpoint);
  check_agreement(c, config_path);
  return c;
}

void Checkpoint::copy_to(std::span<const Parameter> parameters) const {
  std::set<std::string> unknown;
  for (const auto& e : weights.entries()) unknown.insert(e.name);
  std::vector<std::string> missing;
  for (const Parameter& p : parameters)
    if (unknown.erase(p.name) == 0) missing.push_back(in_quotes(p.name));
  const auto refuse = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty())
      throw error(ErrorKind::checkpoint, "{}: {}: {}", weights.origin(), what, list_of(names));
  };
  refuse("tensors are missing", missing);
  std::vector<std::string> extra;
  extra.reserve(unknown.size());
  for (const std::string& name : unknown) extra.push_back(in_quotes(name));
  refuse("tensors that this model does not have", extra);
  for (const Parameter& p : parameters) weights.copy_to(p.name, p.value);
}

std::string Checkpoint::note(const std::string& key) const {
  const auto it = weights.metadata().find(key);
  return it == weights.metadata().end() ? "" : it->second;
}

}  // namespace moe
