#include "model/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>
#include <type_traits>
#include <vector>

#include "model/moe_lm.h"
#include "model/number_text.h"
#include "model/report_heatmaps.h"
#include "model/report_source.h"
#include "model/sparkline.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

template <class... Args>
void line(std::string& out, const char* name, fmt::format_string<Args...> format, Args&&... args) {
  out += fmt::format("{:<12}", name) + fmt::format(format, std::forward<Args>(args)...) + '\n';
}

// "batch_size 16, max_iters 5000, ...", continued below `indent` blanks before it grows too long.
template <class Config>
std::string options_text(const Config& config) {
  constexpr size_t kLongest = 96;
  std::string out;
  size_t length = 0;
  Config::fields(config, [&](const char* name, auto value, const char*) {
    std::string word;
    if constexpr (std::is_enum_v<decltype(value)>)
      word = fmt::format("{} {}", name, words_of<decltype(value)>()[static_cast<size_t>(value)]);
    else
      word = fmt::format("{} {}", name, value);
    if (!out.empty()) out += ",";
    if (length + word.size() > kLongest) {
      out += fmt::format("\n{:12}", "");
      length = 0;
    } else if (!out.empty()) {
      out += ' ';
    }
    out += word;
    length += word.size() + 2;
  });
  return out;
}

std::string vocabulary_text(const Checkpoint& c) {
  constexpr int32_t kShown = 80;
  std::string out;
  for (int32_t id = 0; id < std::min<int64_t>(kShown, c.tokenizer.size()); ++id)
    out += visible_symbol(c.tokenizer.decode(id));
  if (c.tokenizer.size() > kShown) out += " …";
  return out;
}

// "embeddings 12,416 (0.1 %), attention ..."
std::string shares_text(const Checkpoint& c) {
  static constexpr std::array<std::pair<const char*, const char*>, 5> kParts = {{{".experts.", "experts"},
                                                                                 {".attn.", "attention"},
                                                                                 {".moe.", "routers"},
                                                                                 {"embedding", "embeddings"},
                                                                                 {"", "norms and head"}}};
  std::map<std::string, double> sizes;
  double all = 0;
  for (const auto& e : c.weights.entries()) {
    const auto elements = static_cast<double>(e.end - e.begin) / static_cast<double>(size_of(e.dtype));
    const auto part = std::ranges::find_if(
        kParts, [&](const auto& p) { return e.name.find(p.first) != std::string::npos; });
    sizes[part->second] += elements;
    all += elements;
  }
  std::string out;
  for (const auto& [mark, name] : kParts)
    out += fmt::format("{}{} {} ({:.1f} %)", out.empty() ? "" : ", ", name, count_text(sizes[name]),
                       100 * sizes[name] / all);
  return out;
}

// Whatever checksum is recorded, load_checkpoint has compared with the file.
void add_files(const Checkpoint& c, const fs::path& folder, std::string& out) {
  struct File {
    const char *name, *checksum, *of;
  };
  for (const File& file :
       {File{kConfigFile, "config_crc32c", ""}, File{kTokenizerFile, "tokenizer_crc32c", ""},
        File{kWeightsFile, "data_crc32c", "its data "}}) {
    const auto size = static_cast<double>(InputFile(folder / file.name, ErrorKind::checkpoint).size());
    const std::string recorded = c.note(file.checksum);
    line(out, file.name == std::string_view(kConfigFile) ? "files" : "", "{:<18} {:>13} bytes  {}", file.name,
         count_text(size),
         recorded.empty()
             ? "no checksum recorded"
             : fmt::format("{}agrees with the checksum it was saved with, crc32c {}", file.of, recorded));
  }
}

// The L2 norm of each expert's two weight matrices together.
std::vector<double> expert_norms(const Checkpoint& c, size_t layer) {
  std::vector<double> squares(static_cast<size_t>(c.model.num_experts));
  for (const char* part : {"up", "down"}) {
    const Tensor stacked = c.weights.tensor(fmt::format("blocks.{}.moe.experts.{}.weight", layer, part));
    const std::span<float> values = stacked.span<float>();
    const size_t each = values.size() / squares.size();
    for (size_t e = 0; e < squares.size(); ++e)
      for (const float v : values.subspan(e * each, each))
        squares[e] += static_cast<double>(v) * static_cast<double>(v);
  }
  for (double& s : squares) s = std::sqrt(s);
  return squares;
}

// A curve over the experts and their numbers, some to a line.
void add_by_expert(const char* name, const std::vector<double>& values, std::string& out) {
  constexpr size_t kALine = 16;
  out += fmt::format("  {:<8}  {} ", name, sparkline(values, values.size()));
  for (size_t e = 0; e < values.size(); ++e) {
    if (e % kALine == 0 && values.size() > kALine) out += "\n   ";
    out += fmt::format(" {:6.2f}", values[e]);
  }
  out += '\n';
}

void add_experts(const Checkpoint& c, const RunHistory& run, std::string& out) {
  const std::optional<RoutingWindow>& recent = run.routing.recent;
  const bool seen = recent && recent->experts == c.model.num_experts &&
                    static_cast<int64_t>(recent->layers.size()) == c.model.n_layer;
  if (seen) {
    line(out, "experts", "load of steps {} to {}, weight norms of this model", recent->first,
         recent->end - 1);
  } else {
    line(out, "experts", "weight norms of this model; no {} tells of their load", kRoutingFile);
  }
  for (size_t l = 0; l < static_cast<size_t>(c.model.n_layer); ++l) {
    out += fmt::format("layer {}", l);
    if (seen) {
      const LayerWindow& layer = recent->layers[l];
      std::string dead;
      for (const DeadExpert& d : dead_experts(run.routing.windows.back()))
        if (d.layer == static_cast<int64_t>(l)) dead += fmt::format(" {}", d.expert);
      out +=
          fmt::format("   entropy {:.3f} of {:.3f} nats   busiest {:.2f}x   dropped {:.1f} %   dead{}",
                      layer.entropy(), std::log(static_cast<double>(c.model.num_experts)),
                      layer.busiest_over_mean(), 100 * layer.dropped_share(), dead.empty() ? " none" : dead);
    }
    out += '\n';
    if (seen) {
      std::vector<double> shares;
      for (const int64_t n : recent->layers[l].load)
        shares.push_back(100 * static_cast<double>(n) / static_cast<double>(recent->tokens * recent->top_k));
      add_by_expert("load %", shares, out);
    }
    add_by_expert("norm", expert_norms(c, l), out);
  }
}

void add_curve(const char* name, const Series& series, size_t columns, std::string& out) {
  if (series.size() < 2) return;
  const auto [low, high] = std::ranges::minmax(series, {}, &Point::value);
  line(out, name, "{}  {:.4f} … {:.4f}, lowest {:.4f} at step {}", sparkline(values_of(series), columns),
       series.front().value, series.back().value, low.value, low.step);
}

RunHistory history_beside(const fs::path& folder) {
  RunHistory run = read_history(folder);
  if (!run.metrics.empty() || !run.routing.windows.empty()) return run;
  return read_history(fs::absolute(folder).lexically_normal() / "..");
}

}  // namespace

std::string inspect_model(const fs::path& folder, size_t columns) {
  const fs::path model = model_folder(folder).value_or(folder);  // or the error that says it is not there
  const Checkpoint c = load_checkpoint(model);
  const ModelConfig& m = c.model;
  c.check(MoeLm(m, DType::f32, Device::meta, false).parameters());
  std::string out;
  line(out, "model", "{}", model.string());
  line(out, "", "{} layers of {} experts, {} for a token; width {}, {} heads, context {}", m.n_layer,
       m.num_experts, m.top_k, m.n_embed, m.n_head, m.block_size);
  line(out, "parameters", "{}, {} of them active for a token ({:.1f} %)", count_text(m.parameters()),
       count_text(m.active_parameters()), 100 * m.active_parameters() / m.parameters());
  line(out, "", "{}", shares_text(c));
  line(out, "vocabulary", "{}: {}", m.vocab_size, vocabulary_text(c));
  line(out, "options", "{}", options_text(m));
  line(out, "training", "{}", options_text(c.training));
  const auto note = [&](const char* key) {
    return c.note(key).empty() ? "unknown" : visible_symbol(c.note(key));
  };
  line(out, "trained", "{} steps; at step {} train loss {}, val loss {}", note("step"), note("eval_step"),
       note("train_loss"), note("val_loss"));
  const RunHistory run = history_beside(model);
  add_curve("loss", run.metric("loss"), columns, out);
  add_curve("val loss", run.metric("val_loss"), columns, out);
  add_files(c, model, out);
  add_experts(c, run, out);
  return out;
}

}  // namespace moe
