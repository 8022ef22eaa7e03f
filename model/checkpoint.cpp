#include "model/checkpoint.h"

#include <fmt/ranges.h>

#include <list>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "core/crc32c.h"
#include "core/quote.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

// Entries of the metadata.
constexpr const char* kConfigChecksum = "config_crc32c";
constexpr const char* kTokenizerChecksum = "tokenizer_crc32c";
constexpr const char* kOptimizerChecksum = "optimizer_crc32c";
constexpr const char* kStateChecksum = "trainer_state_crc32c";
constexpr int64_t kMaxConfig = 1 << 20, kMaxTokenizer = 64 << 20, kMaxState = 1 << 20;

std::string in_hex(uint32_t sum) {
  return fmt::format("{:08x}", sum);
}

std::string checksum(std::span<const Bytes> pieces) {
  uint32_t sum = 0;
  for (const Bytes& piece : pieces) sum = crc32c(piece, sum);
  return in_hex(sum);
}

std::string checksum(std::string_view text) {
  const Bytes bytes = as_bytes(text);
  return checksum(std::span(&bytes, 1));
}

// The metadata's checksum of the file at `path`, when there is one, must be this.
void check_companion(const Safetensors& weights, const char* key, const std::string& sum,
                     const fs::path& path) {
  const auto wanted = weights.metadata().find(key);
  if (wanted != weights.metadata().end() && wanted->second != sum)
    throw error(ErrorKind::checkpoint,
                "{}: it is not the file that {} was saved with: its checksum is {}, not {}", path.string(),
                weights.origin(), sum, in_quotes(wanted->second));
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
                c.model.vocab_size, kTokenizerFile, c.tokenizer.size(), c.tokenizer.units());
  if (c.model.vocab_size == 0)
    throw error(ErrorKind::checkpoint, "{}: vocab_size is 0: a model of no {} writes nothing",
                config_path.string(), c.tokenizer.units());
  double elements = 0;
  for (const auto& e : c.weights.entries())
    elements += static_cast<double>(e.end - e.begin) / static_cast<double>(size_of(e.dtype));
  if (elements != c.model.parameters())
    throw error(ErrorKind::checkpoint,
                "{}: it holds {:.0f} numbers, but a model of this {} has {:.0f} parameters",
                c.weights.origin(), elements, kConfigFile, c.model.parameters());
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

int64_t save_checkpoint(const fs::path& folder, const ModelConfig& model, const TrainConfig& training,
                        const Tokenizer& tokenizer, std::span<const Parameter> parameters, Metadata metadata,
                        const TrainingFiles* more) {
  // Each file's pieces, in the order in which the files take their places.
  std::vector<std::pair<const char*, std::vector<Bytes>>> files;
  std::vector<std::string> texts(3);
  const auto add = [&](const char* name, std::span<const Bytes> pieces, const char* key) {
    if (key) metadata[key] = checksum(pieces);
    files.emplace_back(name, std::vector(pieces.begin(), pieces.end()));
  };
  const auto add_text = [&](const char* name, std::string& place, std::string text, const char* key) {
    place = std::move(text);
    const Bytes bytes = as_bytes(place);
    add(name, std::span(&bytes, 1), key);
  };
  add_text(kConfigFile, texts[0], to_json(model, training), kConfigChecksum);
  add_text(kTokenizerFile, texts[1], tokenizer.to_json(), kTokenizerChecksum);
  if (static_cast<int64_t>(texts[1].size()) > kMaxTokenizer)
    throw error(ErrorKind::usage,
                "{} tokens make a {} of {} bytes, and none above {} is read back; lower --vocab-size",
                tokenizer.size(), kTokenizerFile, texts[1].size(), kMaxTokenizer);
  std::optional<SafetensorsImage> moments;
  if (more) {
    add_text(kStateFile, texts[2], to_json(more->state), kStateChecksum);
    moments.emplace(more->optimizer, Metadata{});
    add(kOptimizerFile, moments->pieces(), kOptimizerChecksum);
  }
  std::vector<NamedTensor> tensors;
  for (const Parameter& p : parameters) tensors.push_back({p.name, p.value.to(Device::cpu)});
  const SafetensorsImage weights(tensors, std::move(metadata));
  add(kWeightsFile, weights.pieces(), nullptr);

  int64_t bytes = 0;
  for (const auto& file : files)
    for (const Bytes& piece : file.second) bytes += static_cast<int64_t>(piece.size());
  try {
    create_folder(folder);
    std::list<StagedFile> staged;
    for (const auto& [name, pieces] : files) staged.emplace_back(folder / name, pieces);
    for (StagedFile& file : staged) file.commit();
  } catch (const Error& e) {
    throw error(e.kind(), "cannot save {} ({} bytes): {}", folder.string(), bytes, e.what());
  }
  return bytes;
}

fs::path resolve_checkpoint(const fs::path& folder) {
  std::error_code none;
  const fs::path latest = fs::read_symlink(folder / "latest", none);
  return none ? folder : folder / latest;
}

Checkpoint load_checkpoint(const fs::path& run_or_checkpoint) {
  const fs::path folder = resolve_checkpoint(run_or_checkpoint);
  const fs::path config_path = folder / kConfigFile, tokenizer_path = folder / kTokenizerFile;
  const std::string config_json = read_file(config_path, ErrorKind::checkpoint, kMaxConfig);
  const std::string tokenizer_json = read_file(tokenizer_path, ErrorKind::checkpoint, kMaxTokenizer);
  Checkpoint c;
  c.weights = Safetensors::read(folder / kWeightsFile);
  check_companion(c.weights, kConfigChecksum, checksum(config_json), config_path);
  check_companion(c.weights, kTokenizerChecksum, checksum(tokenizer_json), tokenizer_path);
  from_json(config_json, config_path.string(), ErrorKind::checkpoint, c.model, c.training);
  c.tokenizer = Tokenizer::from_json(tokenizer_json, tokenizer_path.string(), ErrorKind::checkpoint);
  check_agreement(c, config_path);
  return c;
}

TrainingPoint load_training_point(const fs::path& run_or_checkpoint) {
  TrainingPoint point;
  point.folder = resolve_checkpoint(run_or_checkpoint);
  point.checkpoint = load_checkpoint(point.folder);
  const Safetensors& weights = point.checkpoint.weights;
  for (const char* key : {kConfigChecksum, kTokenizerChecksum, kOptimizerChecksum, kStateChecksum})
    if (!weights.metadata().contains(key))
      throw error(ErrorKind::checkpoint, "{}: training cannot go on from it: its metadata lacks {}",
                  weights.origin(), key);
  const fs::path optimizer_path = point.folder / kOptimizerFile, state_path = point.folder / kStateFile;
  const std::string state = read_file(state_path, ErrorKind::checkpoint, kMaxState);
  check_companion(weights, kStateChecksum, checksum(state), state_path);
  point.state = trainer_state_from_json(state, state_path.string());
  point.optimizer = Safetensors::read(optimizer_path);
  check_companion(weights, kOptimizerChecksum, in_hex(point.optimizer.checksum()), optimizer_path);
  return point;
}

void Checkpoint::check(std::span<const Parameter> parameters) const {
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
  for (const Parameter& p : parameters) weights.check(p.name, p.value.shape(), p.value.dtype());
}

void Checkpoint::copy_to(std::span<const Parameter> parameters) const {
  check(parameters);
  for (const Parameter& p : parameters) weights.copy_to(p.name, p.value);
}

std::string Checkpoint::note(const std::string& key) const {
  const auto it = weights.metadata().find(key);
  return it == weights.metadata().end() ? "" : it->second;
}

}  // namespace moe
