// report: the pictures of a run, or of several compared, as one page.

#include "apps/run_app.h"
#include "core/parallel.h"
#include "model/report_source.h"
#include "model/text.h"

namespace {

using namespace moe;

struct Options {
  std::vector<std::string> folders{"out"};
  std::string text;
  int64_t seed = 1337;
  int threads = 0;
};

RunHistory history_of(const std::string& folder) {
  std::error_code none;
  if (!std::filesystem::is_directory(folder, none))
    throw error(ErrorKind::data, "{}: there is no such folder", folder);
  RunHistory run = read_history(folder);
  if (run.metrics.empty() && run.routing.windows.empty() && !model_folder(folder))
    throw error(ErrorKind::data, "{}: there is no run in it: no {}, no {} and no model", folder, kMetricsFile,
                kRoutingFile);
  return run;
}

void add_model(const Options& o, const std::filesystem::path& folder, ReportInput& input) {
  const Checkpoint checkpoint = load_checkpoint(folder);
  const MoeLm model(checkpoint.model, DType::f32, Device::cpu, false);
  checkpoint.copy_to(model.parameters());
  input.about = describe(checkpoint.model);
  input.symbols = symbols_of(checkpoint.tokenizer);
  const Passage passage = o.text.empty()
                              ? written_passage(checkpoint, model, static_cast<uint64_t>(o.seed))
                              : validation_passage({checkpoint.tokenizer.encode(load_text(o.text), o.text)},
                                                   checkpoint.model, o.text);
  input.map = map_passage(model, passage, input.symbols);
  input.map_note = passage.note;
}

int report(const CLI::App& app, const Options& o) {
  set_threads(o.threads);
  const std::string& first = o.folders.front();
  ReportInput input;
  for (const std::string& folder : o.folders) input.runs.push_back(history_of(folder));
  if (const auto folder = model_folder(first)) {
    try {
      add_model(o, *folder, input);
    } catch (const Error& e) {  // the curves can be shown all the same
      if (e.kind() != ErrorKind::checkpoint) throw;
      input.map_note = fmt::format("There is no routing map: {}", e.what());
      print_error(app, e.what());
    }
  } else {
    input.map_note = fmt::format("There is no routing map: {} holds no model.", input.runs.front().name);
  }
  const Report page = make_report(input);
  write_report(first, page);
  fmt::print("{}/report.html and {} figures in {}/report\n", first, page.figures.size(), first);
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Draws what a run has left in its folder as one page, DIR/report.html, and each figure as "
      "DIR/report/*.svg.\nOf several folders the curves are compared; the page and the experts are the first "
      "one's.",
      "report");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  Options o;
  app.add_option("DIR", o.folders, "folders of the runs")
      ->type_name("")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->capture_default_str();
  app.add_option("--text", o.text,
                 "the training text: the routing map shows the beginning of its validation part; else a text "
                 "that the model writes")
      ->type_name("FILE");
  app.add_option("--seed", o.seed, "of that text")
      ->check(CLI::NonNegativeNumber.description(""))
      ->capture_default_str();
  add_threads_option(app, o.threads);
  return run_app(app, argc, argv, [&] { return report(app, o); });
}
