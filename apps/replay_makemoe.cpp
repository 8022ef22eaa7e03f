// replay_makemoe CASE.safetensors: does this program compute what the original computes?

#include <algorithm>
#include <string>

#include "apps/run_app.h"
#include "core/parallel.h"
#include "model/replay.h"

namespace {

int replay(const std::string& path, moe::DType dtype) {
  const auto rows = moe::replay_makemoe(moe::Safetensors::read(path), dtype);
  fmt::print("{:<24} {:>10} {:>10}         {}\n", "", "deviation", "tolerance", "worst tensor");
  for (const moe::ReplayRow& row : rows)
    fmt::print("{:<24} {:>10.2e} {:>10.2e}  {:<6}  {}\n", row.what, row.error, row.tolerance,
               row.passed() ? "ok" : "FAILED", row.worst.empty() ? "-" : row.worst);
  const bool passed = std::ranges::all_of(rows, &moe::ReplayRow::passed);
  fmt::print("{}\n", passed ? "all within tolerance" : "out of tolerance");
  return passed ? moe::kExitOk : static_cast<int>(moe::ErrorKind::runtime);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Replays a recorded training run of the original makeMoE through this model and optimizer, and "
      "compares "
      "logits, losses, gradients and final weights.",
      "replay_makemoe");
  std::string path, dtype = "f32";
  int threads = 0;
  app.add_option("CASE", path, "the recording, a safetensors file; tests/golden holds some")
      ->type_name("")
      ->required();
  app.add_option("--dtype", dtype, "element type to compute in")
      ->check(CLI::IsMember({"f32", "f64"}).description(""))
      ->type_name("f32|f64")
      ->capture_default_str();
  moe::add_threads_option(app, threads);
  return moe::run_app(app, argc, argv, [&] {
    moe::set_threads(threads);
    return replay(path, dtype == "f64" ? moe::DType::f64 : moe::DType::f32);
  });
}
