#include "apps/options.h"

#include <algorithm>
#include <type_traits>

#include "apps/run_app.h"
#include "core/file.h"

namespace moe {

template <>
const std::vector<std::string>& words_of<TokenizerKind>() {
  static const std::vector<std::string> words = {"char", "bpe"};
  return words;
}

namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;

std::string option_name(std::string field) {
  std::ranges::replace(field, '_', '-');
  return "--" + field;
}

template <class Enum>
void add_word_option(CLI::App& app, const std::string& name, Enum& value, const std::string& help) {
  const std::vector<std::string>& words = words_of<Enum>();
  app.add_option_function<std::string>(
         name,
         [&value, &words](const std::string& word) {
           value = static_cast<Enum>(std::ranges::find(words, word) - words.begin());
         },
         help)
      ->check(CLI::IsMember(words).description(""))
      ->type_name(fmt::format("{}", fmt::join(words, "|")))
      ->default_str(words[static_cast<size_t>(value)]);
}

template <class Config>
void add_fields(CLI::App& app, const std::string& group, Config& config) {
  Config::fields(config, [&](const char* field, auto& value, const char* help) {
    const std::string name = option_name(field);
    if constexpr (std::is_enum_v<std::remove_reference_t<decltype(value)>>)
      add_word_option(app, name, value, help);
    else
      app.add_option(name, value, help)->capture_default_str();
    app.get_option(name)->group(group);
  });
}

}  // namespace

void add_train_options(CLI::App& app, TrainOptions& o) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("TEXT", o.text, "file with the text to learn from, UTF-8")->type_name("");
  // Options take effect in the order of these lines, not in that of the command line: the file comes first.
  app.add_option_function<std::string>(
         "--config",
         [&o](const std::string& path) {
           from_json(read_file(path, ErrorKind::usage, kMaxConfigBytes), path, ErrorKind::usage, o.model,
                     o.training);
         },
         "take the configuration from FILE, a config.json; other options win over it")
      ->type_name("FILE")
      ->group("Run");
  app.add_option("--out", o.out, "folder for the trained model")
      ->type_name("DIR")
      ->capture_default_str()
      ->group("Run");
  app.add_option("--device", o.device, "where to compute")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}).description(""))
      ->type_name("auto|cpu|cuda")
      ->capture_default_str()
      ->group("Run");
  add_word_option(app, "--tokenizer", o.tokenizer,
                  "a token is a character, or a piece of a word (byte pairs)");
  app.add_option("--vocab-size", o.vocab_size, "tokens that --tokenizer bpe learns, at most")
      ->check(CLI::Range(BpeTokenizer::kBytes, BpeTokenizer::kMaxVocabulary).description(""))
      ->capture_default_str();
  for (const char* name : {"--tokenizer", "--vocab-size"}) app.get_option(name)->group("Run");
  add_threads_option(app, o.threads);
  app.get_option("--threads")->group("Run");
  app.add_flag("--print-config", o.print_config, "print the configuration as JSON and leave")->group("Run");
  add_fields(app, "Model", o.model);
  add_fields(app, "Training", o.training);
}

Device choose_device(const std::string& name, std::string& why) {
  if (name == "cuda" && !kWithCuda)
    throw error(ErrorKind::usage,
                "--device cuda: this build has no CUDA kernels; configure with -DMOE_CUDA=ON");
  why = name != "auto" ? "as asked" : "this build has no CUDA kernels";
  return Device::cpu;
}

}  // namespace moe
