// train_moe: from a text to a model.

#include <chrono>
#include <cmath>

#include "apps/options.h"
#include "apps/run_app.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/parallel.h"
#include "model/checkpoint.h"
#include "model/generate.h"
#include "model/progress.h"
#include "model/text.h"
#include "model/trainer.h"

namespace {

using namespace moe;

constexpr int kSampleTokens = 250;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The model under training and all that is saved with it.
struct Training {
  const TrainOptions& options;
  const Tokenizer& tokenizer;
  double tokens_per_character;
  const MoeLm& model;
  Trainer& trainer;
  Progress& progress;
  int64_t step = 0;         // the next one
  double best = INFINITY;   // lowest validation loss
  Metadata evaluated = {};  // what the last evaluation found

  void save(const std::string& folder) const {
    Metadata notes = evaluated;
    notes["step"] = std::to_string(step);
    save_checkpoint(folder, model.config(), options.training, tokenizer, model.parameters(), notes);
  }
  void evaluate();
  void take_step();
  int run();
};

void Training::evaluate() {
  progress.evaluating();
  const auto start = std::chrono::steady_clock::now();
  const EvalStats eval = trainer.evaluate(step, interrupt_code);
  if (interrupt_code()) return;
  progress.evaluation({step, eval.train, eval.validation, seconds_since(start), tokens_per_character});
  evaluated = {{"eval_step", std::to_string(step)},
               {"train_loss", fmt::format("{:.6f}", eval.train)},
               {"val_loss", fmt::format("{:.6f}", eval.validation)}};
  if (step == 0) return;  // nothing is learned yet that would be worth replacing an older model
  save(options.out);
  if (eval.validation < best) save(options.out + "/best");
  best = std::min(best, eval.validation);
}

void Training::take_step() {
  const TrainConfig& t = options.training;
  const auto start = std::chrono::steady_clock::now();
  const StepStats stats = trainer.step(step);
  progress.step({step, t.max_iters, stats.loss, t.learning_rate, stats.grad_norm, seconds_since(start),
                 t.batch_size * model.config().block_size, stats.busiest_over_mean, stats.dropped_share});
  ++step;
}

// As the reference does, evaluates before every step that eval_interval divides and before the last.
int Training::run() {
  const TrainConfig& t = options.training;
  if (t.max_iters > 0) progress.first_loss(trainer.peek_loss(0));
  while (step < t.max_iters && !interrupt_code()) {
    if (step % t.eval_interval == 0 || step == t.max_iters - 1) evaluate();
    if (!interrupt_code()) take_step();
  }
  progress.finish();
  if (step == 0 && interrupt_code()) return interrupt_code();
  save(options.out);
  progress.note(fmt::format("saved   {} after {} steps", options.out, step));
  return interrupt_code();
}

std::string sample(const MoeLm& model, const Tokenizer& tokenizer, int64_t seed) {
  Generator generator(model, {}, static_cast<uint64_t>(seed));
  generator.feed(default_prompt(tokenizer));
  Utf8Stream stream;
  std::string text;
  for (int i = 0; i < kSampleTokens; ++i) text += stream.push(tokenizer.decode(generator.next()));
  return text + stream.finish();
}

int train(TrainOptions& o) {
  if (o.print_config) {
    o.model.validate();
    o.training.validate(o.model);
    fmt::print("{}", to_json(o.model, o.training));
    return kExitOk;
  }
  if (o.text.empty()) throw error(ErrorKind::usage, "TEXT is required: the file to learn from");
  std::string device_reason;
  choose_device(o.device, device_reason);
  set_threads(o.threads);

  const std::string text = load_text(o.text);
  const Tokenizer tokenizer = Tokenizer::from_text(text, o.tokenizer, o.vocab_size);
  o.model.vocab_size = tokenizer.size();
  o.model.validate();
  o.training.validate(o.model);
  const Corpus corpus{tokenizer.encode(text, o.text)};
  corpus.require_blocks(o.model.block_size, o.text);
  const MemoryPlan memory = plan_memory(o.model, o.training, available_memory());
  create_folder(o.out);
  { const StagedFile probe(o.out + "/model.safetensors", {}); }  // better found out now than after hours

  Progress progress(stdout, TerminalStyle::of(stdout), o.training.eval_interval);
  const auto bytes = [](int64_t n) { return format_bytes(static_cast<double>(n)); };
  progress.note(fmt::format("text    {}: {} {}, {} different ones; {} train, {} validate", o.text,
                            corpus.ids.size(), tokenizer.units(), tokenizer.size(), corpus.train().size(),
                            corpus.validation().size()));
  progress.note("model   " + describe(o.model));
  progress.note(fmt::format("memory  {}: parameters {}, gradients {}, optimizer {}, activations {}",
                            bytes(memory.total()), bytes(memory.parameters), bytes(memory.gradients),
                            bytes(memory.optimizer), bytes(memory.activations)));
  progress.note(fmt::format("device  cpu, {} threads ({})", threads(), device_reason));

  const MoeLm model(o.model);
  model.initialise(static_cast<uint64_t>(o.training.seed));
  Trainer trainer(model, o.training, corpus, memory);
  watch_interrupts();
  const double tokens_per_character =
      static_cast<double>(corpus.ids.size()) / static_cast<double>(count_characters(text));
  Training training{o, tokenizer, tokens_per_character, model, trainer, progress};
  const int code = training.run();
  if (code == kExitOk) {
    progress.note("sample");
    progress.note(sample(model, tokenizer, o.training.seed));
    progress.note("more    ./generate" + (o.out == "out" ? "" : " --checkpoint " + o.out));
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a sparse mixture-of-experts language model on a text, character by character or by pieces of "
      "words.\n"
      "Leaves the model in out/ and the one with the lowest validation loss in out/best/.",
      "train_moe");
  TrainOptions options;
  add_train_options(app, options);
  return run_app(app, argc, argv, [&] { return train(options); });
}
