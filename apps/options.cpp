#include "apps/options.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <string_view>
#include <type_traits>

#include "apps/run_app.h"
#include "apps/tracking_options.h"
#include "apps/word_option.h"
#include "core/file.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxConfigBytes = 1 << 20;

template <class Config>
void add_fields(CLI::App& app, const std::string& group, Config& config) {
  Config::fields(config, [&](const char* field, auto& value, const char* help) {
    const std::string name = option_name(field);
    using Value = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_enum_v<Value>)
      add_word_option(app, name, value, help);
    else if constexpr (std::is_same_v<Value, bool>)
      app.add_flag(name, value, help);
    else
      app.add_option(name, value, help)->capture_default_str();
    app.get_option(name)->group(group);
  });
}

// Locks the run's folder, when there is one. The newest checkpoint that is read then stays the newest.
// Nothing is locked to print a configuration.
void open_run(TrainOptions& o, const CLI::App& app) {
  std::error_code none;
  if (fs::is_directory(o.out, none) && app.count("--print-config") == 0) o.folder.emplace(o.out);
}

// The checkpoint that `folder` is, or the newest in it when it is a run's; o.out becomes the run's folder
// unless it was given. Going back in a run's own folder is refused: what was made since is in the way.
void resume_from(TrainOptions& o, const std::string& folder, const CLI::App& app) {
  std::error_code none;
  if (!fs::is_directory(folder, none))
    throw error(ErrorKind::usage, "--resume {}: there is no such folder; --resume auto continues {}", folder,
                o.out);
  const fs::path from = fs::proximate(fs::canonical(folder, none), none);
  const bool is_run = !checkpoints_in(from).empty();
  if (!is_run) o.resume = load_training_point(from);
  fs::path run = is_run ? from : run_folder_of(o.resume->folder);
  if (!run.empty()) run = fs::proximate(run);
  if (app.count("--out") == 0) {
    if (run.empty())
      throw error(ErrorKind::usage, "--resume {}: it is in no run's folder; give --out a folder to go on in",
                  folder);
    o.out = run.string();
  }
  open_run(o, app);
  if (is_run) o.resume = find_training_point(from, o.damaged);
  if (is_run || !fs::equivalent(run, o.out, none)) return;
  const auto newest = find_training_point(run, o.damaged);
  if (newest && newest->state.step > o.resume->state.step)
    throw error(ErrorKind::usage, "--resume {}: {} goes further; give --out another folder to branch off",
                folder, newest->folder.string());
}

// "auto": what is in o.out, if anything.
void read_resume(TrainOptions& o, const std::string& from, const CLI::App& app) {
  if (from.empty() || from == "auto") {
    open_run(o, app);
    o.resume = find_training_point(o.out, o.damaged);
  } else {
    resume_from(o, from, app);
  }
  if (!o.resume) return;
  o.model = o.resume->checkpoint.model;
  o.training = o.resume->checkpoint.training;
}

void add_run_options(CLI::App& app, TrainOptions& o) {
  const auto option = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str()->group("Run");
  };
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto range = CLI::Range(int64_t{0}, kMost).description("");
  option("--out", o.out, "folder for the run and its models")->type_name("DIR");
  // Options take effect in the order of these lines, not in that of the command line.
  app.add_option_function<std::string>(
         "--resume", [&o, &app](const std::string& from) { read_resume(o, from, app); },
         "continue the run in --out, if there is one (auto), or that of DIR, with its options")
      ->expected(0, 1)
      ->type_name("[auto|DIR]")
      ->group("Run");
  app.add_flag("--allow-changes", o.allow_changes,
               "let training options differ from those of the resumed run")
      ->group("Run");
  app.add_option_function<std::string>(
         "--config",
         [&o](const std::string& path) {
           from_json(read_file(path, ErrorKind::usage, kMaxConfigBytes), path, ErrorKind::usage, o.model,
                     o.training);
         },
         "take the configuration from FILE, a config.json; other options win over it")
      ->type_name("FILE")
      ->group("Run");
  option("--keep", o.run.keep, "newest checkpoints to keep, besides latest and best; 0: all")->check(range);
  option("--save-interval", o.run.save_interval, "steps between checkpoints; 0: one with each evaluation")
      ->check(range);
  option("--sample-interval", o.run.sample_interval, "steps between samples of text; 0: none")->check(range);
  app.add_flag("!--no-report", o.report, "write neither routing.jsonl nor report.html")->group("Run");
  add_tracking_options(app, o.tracking);
  add_device_options(app, o.device, "Run");
  add_threads_option(app, o.threads);
  app.get_option("--threads")->group("Run");
  app.add_flag("--print-config", o.print_config, "print the configuration as JSON and leave")->group("Run");
}

// "http://user:password@host" -> "http://host"
std::string without_password(std::string url) {
  const size_t start = url.find("://");
  if (start == std::string::npos) return url;
  const size_t host = start + 3, at = url.rfind('@', url.find('/', host));
  if (at != std::string::npos && at >= host) url.erase(host, at + 1 - host);
  return url;
}

// As the command line had it: "--keep 0", "--no-report", "--mlflow=off".
std::string as_given(const CLI::Option& option) {
  const std::string &field = option.get_lnames().front(), &value = option.results().back();
  const std::string name = "--" + field;
  if (option.get_items_expected_max() > 0) return name + " " + shell_word(value);
  if (value == option.get_flag_value(field, "")) return name;
  return shell_word(name + "=" + without_password(option.get_flag_value(field, value)));
}

// Every option of a run that no checkpoint remembers, after a blank each.
std::string given_for_the_run(const CLI::App& app) {
  constexpr std::array<std::string_view, 5> kElsewhere = {"--out", "--resume", "--allow-changes", "--config",
                                                          "--print-config"};
  std::string given;
  for (const CLI::Option* option : app.get_options()) {
    const bool repeated = option->get_group() == "Run" || option->get_group() == "Tracking";
    if (repeated && option->count() > 0 &&
        std::ranges::find(kElsewhere, option->get_name()) == kElsewhere.end())
      given += " " + as_given(*option);
  }
  return given;
}

}  // namespace

std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

void add_train_options(CLI::App& app, TrainOptions& o) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("TEXT", o.text, "file with the text to learn from, UTF-8")->type_name("");
  add_run_options(app, o);
  add_fields(app, "Model", o.model);
  add_fields(app, "Training", o.training);
  app.parse_complete_callback([&o, &app] {
    o.repeated = given_for_the_run(app);
    if (!o.resume) require_effect(o.model, o.training);
  });
}

std::string resume_command(const TrainOptions& o) {
  return fmt::format("./train_moe {} --resume{}{}", shell_word(o.text),
                     o.out == "out" ? "" : " --out " + shell_word(o.out), o.repeated);
}

}  // namespace moe
