// Runs the tests of this folder on a GPU. Leaves with 77 where none answers, saying why.
//
//   moe_cuda_tests [--op NAME] [Catch's options]
//
// With --op, of the tests of all operations' cases those of one operation run.

#include <cstdio>
#include <vector>

#include "core/cuda_graph.h"
#include "core/cuda_memory.h"
#include "tests/catch_runner.h"
#include "tests/cuda/test_options.h"

int main(int argc, char** argv) {
  std::vector<char*> args(argv, argv + argc);
  moe::test::take_op(args);
  if (const std::string why = moe::cuda::why_no_device(); !why.empty()) {
    std::printf("Skipped: %s\n", why.c_str());
    return 77;
  }
  std::printf("On %s\n", moe::cuda::device_name().c_str());
  const moe::cuda::OwnedStream stream = moe::cuda::make_stream();
  moe::set_current_stream(stream.get());
  return moe::test::run_catch(static_cast<int>(args.size()), args.data());
}
