// inspect_moe DIR: what is this model?

#include <algorithm>

#include "apps/run_app.h"
#include "model/inspect.h"
#include "model/progress.h"

int main(int argc, char** argv) {
  CLI::App app(
      "Says what a trained model is: sizes, vocabulary, options, losses, files, and how its experts fare.",
      "inspect_moe");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  std::string folder = "out";
  app.add_option("DIR", folder, "folder of a run or a model, such as out or out/best")
      ->type_name("")
      ->capture_default_str();
  return moe::run_app(app, argc, argv, [&] {
    constexpr int kCurve = 60, kBesideCurve = 64;
    const int columns = moe::TerminalStyle::of(stdout).columns;
    fmt::print("{}", moe::inspect_model(
                         folder, static_cast<size_t>(
                                     columns > 0 ? std::clamp(columns - kBesideCurve, 10, kCurve) : kCurve)));
    return moe::kExitOk;
  });
}
