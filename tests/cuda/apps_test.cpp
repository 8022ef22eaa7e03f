// train_moe and generate as a user runs them, with --device cuda.

#include "core/cuda_memory.h"
#include "model/checkpoint.h"
#include "tests/catch.h"
#include "tests/in_precision.h"
#include "tests/run_shop.h"

namespace moe::test {
namespace {

// train_moe of the shop, with the pictures of the run.
Arguments training(const RunShop& shop, const std::string& out, int steps, const Arguments& more = {}) {
  Arguments a = shop.training(out, steps, more);
  std::erase(a, "--no-report");
  return a;
}

}  // namespace

TEST_CASE("train_moe takes the GPU that answers, saves, resumes bit for bit and generates the CPU's text",
          "[cuda][apps]") {
  const RunShop shop;
  const Result whole = run(shop, training(shop, "whole", 8));
  INFO(whole.err << whole.out);
  REQUIRE(whole.code == 0);
  CHECK(whole.out.find("device  cuda, " + cuda::device_name() + ", fp32 (it answers)") != std::string::npos);
  CHECK(steps_with(shop / "whole", "loss") == counting(8));
  CHECK(steps_with(shop / "whole", "val_loss") == std::vector<int64_t>{0, 7});
  CHECK(std::filesystem::exists(shop / "whole/report.html"));

  REQUIRE(run(shop, training(shop, "cut", 8, {"--device", "cuda", "--keep", "0"})).code == 0);
  CHECK(shop.bytes("cut/step-00000008") == shop.bytes("whole/latest"));
  Arguments resume{"train_moe", "text.txt", "--resume",   "cut/step-00000005",
                   "--out",     "branch",   "--no-report"};
  REQUIRE(run(shop, resume).code == 0);
  CHECK(shop.bytes("branch/latest") == shop.bytes("whole/latest"));

  // The same run on the CPU: the same losses to within rounding.
  REQUIRE(run(shop, training(shop, "cpu", 8, {"--device", "cpu"})).code == 0);
  const auto want = rows_of(shop / "cpu"), got = rows_of(shop / "whole");
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i)
    for (const char* key : {"loss", "val_loss", "grad_norm", "dropped_share"})
      if (want[i].contains(key))
        CHECK(got[i][key].get<double>() == Approx(want[i][key].get<double>()).epsilon(1e-4));

  const auto text = [&](const char* device) {
    return run(shop, {"generate", "--checkpoint", "whole", "--device", device, "--tokens", "30"});
  };
  const Result on_gpu = text("cuda");
  INFO(on_gpu.err);
  CHECK(on_gpu.code == 0);
  CHECK(on_gpu.err.find("device: cuda") != std::string::npos);
  CHECK(on_gpu.out.size() == 30);
  CHECK(on_gpu.out == text("cpu").out);
}

TEST_CASE("a run that always diverges on the GPU rewinds, and ends as the CPU's does", "[cuda][apps]") {
  const RunShop shop;
  const auto diverge = [&](const char* device) {
    return run(shop, shop.training(std::string("out-") + device, 60,
                                   {"--device", device, "--schedule", "constant", "--min-learning-rate", "0",
                                    "--learning-rate", "1e30", "--warmup-iters", "0", "--max-rewinds", "1"}));
  };
  const Result cuda = diverge("cuda"), cpu = diverge("cpu");
  INFO(cuda.err);
  CHECK(cuda.code == 6);
  CHECK(cpu.code == 6);
  CHECK(steps_with(shop / "out-cuda", "skipped") == steps_with(shop / "out-cpu", "skipped"));
  CHECK(load_training_point(shop / "out-cuda").state.step == 0);
  // The lines but for the time of day and the folder.
  const auto events = [&](const char* folder) {
    std::string all;
    std::ifstream file(shop / folder / "divergence.log");
    for (std::string line; std::getline(file, line);) all += line.substr(line.find(' ')) + "\n";
    return all;
  };
  CHECK(events("out-cuda") == events("out-cpu"));
}

TEST_CASE("train_moe trains in bf16 on the GPU, and says so", "[cuda][apps]") {
  const RunShop shop;
  const Result r = run(shop, shop.training("out", 3, {"--device", "cuda", "--dtype", "bf16"}));
  INFO(r.err);
  CHECK(r.code == 0);
  const InPrecision bf16(Precision::bf16);
  const bool has_it = cuda::usable_precision() == Precision::bf16;
  CHECK(r.out.find(has_it ? "bf16 (as asked)" : "fp32 (as asked; it has no bf16)") != std::string::npos);
}

}  // namespace moe::test
