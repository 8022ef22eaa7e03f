// train_moe: from a text to a model.

#include "apps/observers.h"
#include "apps/options.h"
#include "apps/run_app.h"
#include "core/memory.h"
#include "core/parallel.h"
#include "model/run.h"
#include "model/text.h"

namespace {

using namespace moe;

// What a run learns from. The text itself is not kept.
struct Material {
  Tokenizer tokenizer;
  Corpus corpus;
  DataId id;
  double tokens_per_character;
};

// Completes the model's configuration. Refuses a text or options that do not go with the run to be resumed.
Material read_material(TrainOptions& o) {
  const std::string text = load_text(o.text);
  const DataId id = DataId::of(text);
  if (o.resume) require_same_text(*o.resume, o.text, id);
  Tokenizer tokenizer = o.resume ? o.resume->checkpoint.tokenizer
                                 : Tokenizer::from_text(text, o.training.tokenizer, o.training.vocab_size);
  o.model.vocab_size = tokenizer.size();
  o.model.validate();
  o.training.validate(o.model);
  if (o.resume) require_same_run(*o.resume, o.model, o.training, o.allow_changes);
  Corpus corpus{tokenizer.encode(text, o.text)};
  corpus.require_blocks(o.model.block_size, o.text);
  const auto tokens = static_cast<double>(corpus.ids.size());
  return {std::move(tokenizer), std::move(corpus), id, tokens / static_cast<double>(count_characters(text))};
}

// What a run is told about before it starts.
void introduce(Progress& progress, const TrainOptions& o, const Corpus& corpus, const MemoryPlan& memory,
               const char* units, const ChosenDevice& device) {
  const auto bytes = [](int64_t n) { return format_bytes(static_cast<double>(n)); };
  progress.note(fmt::format("text    {}: {} {}, {} different ones; {} train, {} validate", o.text,
                            corpus.ids.size(), units, o.model.vocab_size, corpus.train().size(),
                            corpus.validation().size()));
  progress.note("model   " + describe(o.model));
  progress.note(fmt::format("memory  {}: parameters {}, gradients {}, optimizer {}, activations {}",
                            bytes(memory.total()), bytes(memory.parameters), bytes(memory.gradients),
                            bytes(memory.optimizer), bytes(memory.activations)));
  progress.note("device  " + device.description);
}

// Starts or continues; the checkpoint's memory is free afterwards.
void begin(Run& run, RunFolder& folder, TrainOptions& o, Progress& progress, const DataId& id) {
  for (const std::string& line : o.damaged) progress.note("damaged " + line);
  std::error_code none;
  const bool in_place =
      o.resume && std::filesystem::equivalent(run_folder_of(o.resume->folder), folder.path(), none);
  if (!in_place)
    if (const auto older = folder.set_aside())
      progress.note(fmt::format("older   what was in {} is in {} now", o.out, older->string()));
  if (o.resume) {
    run.continue_from(*o.resume);
    progress.note(fmt::format("resume  {}, after {} steps", o.resume->folder.string(), run.state().step));
    o.resume.reset();
  } else {
    run.start(id);
  }
}

// Tells the observers of the end, and gives a sample of a run that reached it. A model that writes nothing is
// a failure that they must hear of.
std::string finish(const Run& run, Observers& observers, int code) {
  std::string sample;
  try {
    if (code == kExitOk) sample = run.sample();
  } catch (const Error& e) {
    observers.finish(e.exit_code());
    throw;
  }
  observers.finish(code);
  return sample;
}

void say_how_it_ended(const Run& run, const TrainOptions& o, Progress& progress, int code,
                      const std::string& sample) {
  progress.note(fmt::format("saved   {} after {} steps", o.out, run.state().step));
  if (code != kExitOk) return progress.note("resume  " + resume_command(o));
  if (run.out_of_patience())
    progress.note(
        fmt::format("stopped after {} evaluations without a lower validation loss than {:.4f} at step {}",
                    run.state().evaluations_since_best, run.state().best, run.state().best_step));
  progress.note("sample");
  progress.note(sample);
  progress.note("more    ./generate" + (o.out == "out" ? "" : " --checkpoint " + shell_word(o.out)));
}

int train(TrainOptions& o) {
  if (o.print_config) {
    o.model.validate();
    o.training.validate(o.model);
    fmt::print("{}", to_json(o.model, o.training));
    return kExitOk;
  }
  if (o.text.empty()) throw error(ErrorKind::usage, "TEXT is required: the file to learn from");
  check_tracking(o.tracking);  // before an older run is moved aside
  set_threads(o.threads);
  const ChosenDevice device = choose_device(o.device);

  const Material material = read_material(o);
  o.run.tokens_per_character = material.tokens_per_character;
  const MemoryPlan memory = plan_memory(o.model, o.training, device.available_memory, device.device);
  if (!o.folder) o.folder.emplace(o.out);
  RunFolder& folder = *o.folder;
  watch_interrupts();

  Progress progress(stdout, TerminalStyle::of(stdout), o.training.eval_interval);
  introduce(progress, o, material.corpus, memory, material.tokenizer.units(), device);
  const MoeLm model(o.model, DType::f32, device.device);
  Trainer trainer(model, o.training, material.corpus, memory);
  Run run(folder, o.run, o.training, material.tokenizer, model, trainer, progress,
          {interrupt_code, take_save_request});
  const bool resumed = o.resume.has_value();
  begin(run, folder, o, progress, material.id);
  Observers observers(run, o, material.tokenizer, material.corpus, model, progress, resumed);
  const int code = run.run();
  const std::string sample = finish(run, observers, code);
  say_how_it_ended(run, o, progress, code, sample);
  if (progress.lost() != 0) throw lost_output(progress.lost());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a sparse mixture-of-experts language model on a text, character by character or by pieces of\n"
      "words. Leaves the model in out/ and the one with the lowest validation loss in out/best/.\n"
      "Can be interrupted at any moment; --resume goes on as if nothing had happened.",
      "train_moe");
  TrainOptions options;
  add_train_options(app, options);
  return run_app(app, argc, argv, [&] { return train(options); });
}
