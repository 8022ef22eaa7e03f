// generate: text from a trained model, token by token.

#include "model/generate.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <limits>
#include <string>

#include "apps/device_options.h"
#include "apps/run_app.h"
#include "core/parallel.h"
#include "model/checkpoint.h"
#include "model/colored_text.h"
#include "model/progress.h"
#include "model/routing_map.h"
#include "model/text.h"

namespace {

using namespace moe;

struct Options {
  std::string checkpoint = "out", prompt, file;
  int64_t tokens = 500, seed = 1337;
  std::string color_experts = "never";  // auto: on a terminal that wants colours
  int64_t color_layer = -1;             // -1: the last
  bool greedy = false;
  int threads = 0;
  DeviceOptions device;
  SamplerConfig sampler;
};

// Standard output for text that comes in pieces. A piece arrives with the first one that is put kMostDelay
// after the last flush, or with finish(): to write each character by itself, and to wake up a reader for it,
// costs a twentieth of the speed (docs/speed.md).
class TextOutput {
 public:
  // False when nobody reads any more.
  bool put(const std::string& text) {
    if (!heard_) return false;
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) return fail();
    return Clock::now() - flushed_ < kMostDelay || finish();
  }
  bool finish() {
    if (heard_ && std::fflush(stdout) != 0) return fail();
    flushed_ = Clock::now();
    return heard_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kMostDelay{20};

  bool fail() {
    if (errno != EPIPE) throw lost_output(errno);
    return heard_ = false;
  }

  bool heard_ = true;
  Clock::time_point flushed_;  // long ago
};

// The layer whose experts colour the text, or -1 for text without colours.
int64_t colored_layer(const Options& o, const ModelConfig& model) {
  if (o.color_layer >= model.n_layer)
    throw error(ErrorKind::usage, "--color-layer {}: this model has layers 0 to {}", o.color_layer,
                model.n_layer - 1);
  const bool wanted =
      o.color_experts == "always" || (o.color_experts == "auto" && TerminalStyle::of(stdout).color);
  if (!wanted) return -1;
  return o.color_layer < 0 ? model.n_layer - 1 : o.color_layer;
}

// Writes the prompt and the tokens that follow it, as long as anybody reads; returns how many these are.
int64_t write_plain(const Options& o, const Checkpoint& c, Generator& generator, const std::string& prompt,
                    TextOutput& out) {
  bool heard = out.put(prompt);
  int64_t made = 0;
  Utf8Stream stream;
  for (; made < o.tokens && heard; ++made) heard = out.put(stream.push(c.tokenizer.decode(generator.next())));
  out.put(stream.finish());
  return made;
}

// The same in colours. A token's experts are known once the model has seen it, when the next one is asked
// for.
int64_t write_colored(const Options& o, const Checkpoint& c, const MoeLm& model, Generator& generator,
                      std::span<const int32_t> prompt, int64_t layer, TextOutput& out) {
  ExpertColors colors;
  const RoutingMap map = map_routing(model, prompt);
  bool heard = true;
  for (size_t n = 0; n < prompt.size() && heard; ++n)
    heard = out.put(
        colors.paint(c.tokenizer.decode(prompt[n]), map.expert[map.index(layer, static_cast<int64_t>(n))]));
  int64_t made = 0;
  for (; made < o.tokens && heard; ++made) {
    const std::string text = c.tokenizer.decode(generator.next());
    heard = out.put(colors.paint(text, generator.experts()[static_cast<size_t>(layer)]));
  }
  out.put(colors.finish());
  return made;
}

int generate(Options o) {
  std::signal(SIGPIPE, SIG_IGN);
  set_threads(o.threads);
  if (o.greedy) o.sampler.temperature = 0;
  o.sampler.validate();
  const ChosenDevice device = choose_device(o.device);

  const Checkpoint checkpoint = load_checkpoint(o.checkpoint);
  const std::string prompt = o.file.empty() ? o.prompt : load_text(o.file);
  const std::vector<int32_t> ids =
      prompt.empty() ? default_prompt(checkpoint.tokenizer)
                     : checkpoint.tokenizer.encode(prompt, o.file.empty() ? "--prompt" : o.file);
  const int64_t layer = colored_layer(o, checkpoint.model);
  const MoeLm model(checkpoint.model, DType::f32, device.device, false);
  checkpoint.copy_to(model.parameters());
  model.pack_weights();
  fmt::print(stderr, "{}: {}\n", o.checkpoint, describe(checkpoint.model));
  fmt::print(stderr, "device: {}\n", device.description);

  Generator generator(model, o.sampler, static_cast<uint64_t>(o.seed));
  generator.feed(ids);
  const auto start = std::chrono::steady_clock::now();
  TextOutput out;
  const int64_t made = layer < 0
                           ? write_plain(o, checkpoint, generator, prompt, out)
                           : write_colored(o, checkpoint, model, generator,
                                           prompt.empty() ? std::span<const int32_t>{} : ids, layer, out);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (isatty(STDOUT_FILENO)) out.put("\n");
  out.finish();
  fmt::print(stderr, "{} tokens in {:.2f} s, {:.0f} tokens/s\n", made, seconds,
             static_cast<double>(made) / std::max(seconds, 1e-9));
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Writes text with a model that train_moe has trained. The text goes to stdout, all else to stderr.",
      "generate");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  Options o;
  const auto option = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  option("--tokens", o.tokens, "tokens to write: characters, or pieces of words")
      ->check(CLI::Range(int64_t{0}, kMost).description(""));
  option("--checkpoint", o.checkpoint, "folder of the model, such as out or out/best")->type_name("DIR");
  CLI::Option* prompt = option("--prompt", o.prompt, "text to continue; it is printed first");
  option("--file", o.file, "file with the text to continue")->type_name("FILE")->excludes(prompt);
  option("--temperature", o.sampler.temperature, "below 1 safer, above 1 bolder; 0: greedy")
      ->group("Sampling");
  option("--top-k", o.sampler.top_k, "choose among the k most probable; 0: all")->group("Sampling");
  option("--top-p", o.sampler.top_p, "choose among the fewest that are this probable together; 1: all")
      ->group("Sampling");
  option("--min-p", o.sampler.min_p,
         "leave out what is less than this share as probable as the first; 0: none")
      ->group("Sampling");
  option("--repeat-penalty", o.sampler.repeat_penalty, "make what stands in the window less probable; 1: off")
      ->group("Sampling");
  app.add_flag("--greedy", o.greedy, "always take the most probable; the same as --temperature 0")
      ->group("Sampling");
  option("--seed", o.seed, "of all random draws")
      ->check(CLI::Range(int64_t{0}, kMost).description(""))
      ->group("Sampling");
  app.add_option_function<std::string>(
         "--color-experts", [&o](const std::string& word) { o.color_experts = word.empty() ? "auto" : word; },
         "put each character on the colour of its first expert; auto, also when no word follows: on a "
         "terminal, unless NO_COLOR is set; without this option: never")
      ->expected(0, 1)
      ->check(CLI::IsMember({"auto", "always", "never", ""}).description(""))
      ->type_name("auto|always|never")
      ->group("Colours");
  option("--color-layer", o.color_layer, "layer whose experts count; -1: the last")
      ->check(CLI::Range(int64_t{-1}, kMost).description(""))
      ->group("Colours");
  add_device_options(app, o.device, "Device");
  add_threads_option(app, o.threads);
  app.get_option("--threads")->group("Device");
  return run_app(app, argc, argv, [&] { return generate(o); });
}
