// Runs the tests; a fault that the executor found and no test asked for is a failure.
//
//   moe_simt_tests [--every-kernel] [--op NAME] [Catch's options]
//
// With --every-kernel, a kernel of the project that these tests did not launch is one as well. With --op, of
// the tests of all operations' cases those of one operation run.
//
// Kernels run on a stream of their own, as in training: one that is launched on another, the default stream
// say, races with those that it should come after.

#include <cuda_runtime_api.h>

#include <cstdio>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "tests/catch_runner.h"
#include "tests/cuda/test_options.h"
#include "tests/simt/executor/fault.h"
#include "tests/simt/executor/watch.h"
#include "tests/simt/kernel_list.h"

namespace {

int print_kernels_not_run() {
  const std::string folder = std::string(MOE_SOURCE_DIR) + "/kernels";
  const std::set<std::string> missing = moe::test::kernels_not_run(folder);
  for (const std::string& name : missing)
    std::fprintf(stderr, "%s: no test launched this kernel\n", name.c_str());
  if (missing.empty()) std::printf("All %zu kernels were launched\n", moe::test::kernels_in(folder).size());
  return missing.empty() ? 0 : 1;
}

// Takes this program's own option out of the command line.
bool take_every_kernel(std::vector<char*>& args) {
  return std::erase_if(args, [](const char* arg) { return std::string_view(arg) == "--every-kernel"; }) > 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> args(argv, argv + argc);
  moe::test::take_op(args);
#if defined(__SANITIZE_ADDRESS__)
  const bool watched = true;
#else
  const bool watched = simt::watch::on();
#endif
  if (watched) {  // each access to memory is: large cases would take minutes
    moe::test::test_options().benchmark_cases = false;
    moe::test::test_options().compared_steps = 2;
  }
  const bool every_kernel = take_every_kernel(args);
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  moe::set_current_stream(stream);
  const int failed = moe::test::run_catch(static_cast<int>(args.size()), args.data());
  const int faults = simt::print_faults();
  const int not_run = every_kernel ? print_kernels_not_run() : 0;
  return failed ? failed : faults | not_run;
}
