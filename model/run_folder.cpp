#include "model/run_folder.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <system_error>
#include <utility>

#include "model/checkpoint.h"
#include "model/metrics_log.h"
#include "model/routing_log.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLatest = "latest";
constexpr const char* kBest = "best";
constexpr const char* kTemporary = ".tmp";
constexpr std::string_view kStep = "step-", kPrevious = "previous-";

// Everything a run leaves beside its checkpoints.
constexpr std::array kEntries = {kConfigFile, kTokenizerFile, kWeightsFile, kOptimizerFile,
                                 kStateFile,  kMetricsFile,   "samples",    "divergence.log",
                                 "tb",        "report.html",  "report",     kRoutingFile,
                                 "mlflow",    kBest,          kLatest};

// The number behind a prefix, "step-00000500"; -1 when the name is another.
int64_t number_in(const std::string& name, std::string_view prefix) {
  int64_t number = -1;
  if (!name.starts_with(prefix)) return -1;
  const char* end = name.data() + name.size();
  const auto [stop, code] = std::from_chars(name.data() + prefix.size(), end, number);
  return code == std::errc() && stop == end ? number : -1;
}

int64_t step_of(const fs::path& checkpoint) {
  const std::string name = checkpoint.filename().string();
  const int64_t step = number_in(name, kStep);
  return step >= 0 && name == step_name(step) ? step : -1;
}

bool is_entry(const std::string& name) {
  return std::ranges::find(kEntries, name) != kEntries.end();
}

std::string target_of(const fs::path& path) {
  std::error_code ignored;
  return fs::read_symlink(path, ignored).string();
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator i(folder, code), end; !code && i != end; i.increment(code))
    names.push_back(i->path().filename().string());
  return names;
}

void remove_leftovers(const fs::path& folder) {
  const auto is_ours = [](const std::string& name) { return number_in(name, kStep) >= 0 || is_entry(name); };
  // A checkpoint that was being replaced is back unless the newer one is there.
  const std::string older = std::string(kTemporary) + kReplaced;
  for (const std::string& name : names_in(folder)) {
    const std::string step = name.substr(0, name.size() - std::min(name.size(), older.size()));
    if (!name.ends_with(older) || step_of(step) < 0) continue;
    std::error_code code;
    if (!fs::exists(folder / step, code)) fs::rename(folder / name, folder / step, code);
    remove_tree(folder / name);
  }
  for (const std::string& name : names_in(folder))
    if (name.ends_with(kTemporary) && is_ours(name.substr(0, name.size() - 4))) remove_tree(folder / name);
  for (const std::string& name : names_in(folder / "samples"))
    if (name.ends_with(".txt.tmp") && step_of(fs::path(name).stem().stem()) >= 0)
      remove_tree(folder / "samples" / name);
}

// Gone when it goes out of scope.
struct Temporary {
  fs::path path;
  ~Temporary() { remove_tree(path); }
};

}  // namespace

std::string step_name(int64_t step) {
  return fmt::format("{}{:08}", kStep, step);
}

std::vector<fs::path> checkpoints_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code none;
  for (const std::string& name : names_in(folder))
    if (step_of(name) >= 0 && fs::is_directory(folder / name, none)) found.push_back(folder / name);
  const std::string latest = target_of(folder / kLatest);
  std::ranges::sort(found, [&](const fs::path& a, const fs::path& b) {
    return std::pair(a.filename() == latest, step_of(a)) > std::pair(b.filename() == latest, step_of(b));
  });
  return found;
}

fs::path run_folder_of(const fs::path& checkpoint) {
  std::error_code none;
  const fs::path whole = fs::canonical(checkpoint, none), folder = whole.parent_path();
  return step_of(whole) >= 0 && step_of(target_of(folder / kLatest)) >= 0 ? folder : fs::path();
}

RunFolder::RunFolder(fs::path folder) : folder_(std::move(folder)), lock_(folder_) {
  remove_leftovers(folder_);
}

fs::path RunFolder::latest() const {
  const std::string target = target_of(folder_ / kLatest);
  return target.empty() ? fs::path() : folder_ / target;
}

std::optional<fs::path> RunFolder::set_aside() {
  const std::vector<std::string> names = names_in(folder_);
  const auto is_step = [](const std::string& name) { return step_of(name) >= 0; };
  if (std::ranges::none_of(names, is_step) && std::ranges::none_of(names, is_entry)) return {};
  int64_t last = 0;
  for (const std::string& name : names) last = std::max(last, number_in(name, kPrevious));
  const fs::path older = folder_ / fmt::format("{}{}", kPrevious, last + 1);
  create_folder(older);
  // The checkpoints go last: should this be cut short, the next start moves the rest.
  for (const char* name : kEntries)
    if (std::ranges::find(names, name) != names.end()) rename_file(folder_ / name, older / name);
  for (const std::string& name : names)
    if (is_step(name)) rename_file(folder_ / name, older / name);
  return older;
}

void RunFolder::link(const char* name, const std::string& target) const {
  if (target_of(folder_ / name) != target) replace_link(folder_ / name, target);
}

void RunFolder::save(int64_t step, int64_t best_step, const std::function<int64_t(const fs::path&)>& write) {
  const std::string name = step_name(step);
  const fs::path target = folder_ / name;
  const Temporary staged{folder_ / (name + kTemporary)};
  remove_tree(staged.path);
  const int64_t bytes = write(staged.path);
  try {
    replace_folder(staged.path, target);
    for (const char* file : {kConfigFile, kTokenizerFile, kWeightsFile, kOptimizerFile, kStateFile})
      link(file, std::string(kLatest) + "/" + file);
    const std::string best = step_name(best_step);
    std::error_code none;
    if (best_step >= 0 && fs::is_directory(folder_ / best, none)) link(kBest, best);
    link(kLatest, name);
  } catch (const Error& e) {
    throw error(e.kind(), "cannot save {} ({} bytes): {}", target.string(), bytes, e.what());
  }
}

void RunFolder::prune(int64_t keep, int64_t rewind_step) const {
  const std::set<std::string> kept = {target_of(folder_ / kLatest), target_of(folder_ / kBest),
                                      step_name(rewind_step)};
  std::vector<fs::path> all = checkpoints_in(folder_);
  std::ranges::sort(all, std::ranges::greater(), step_of);
  for (size_t i = 0; keep > 0 && i < all.size(); ++i) {
    if (static_cast<int64_t>(i) < keep || kept.contains(all[i].filename().string())) continue;
    fs::path gone = all[i];
    gone += kTemporary;  // half a checkpoint must not look like one
    std::error_code code;
    fs::rename(all[i], gone, code);
    if (!code) remove_tree(gone);
  }
}

}  // namespace moe
