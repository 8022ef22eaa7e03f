// Runs the tests; a fault that the executor found and no test asked for is a failure.
//
//   moe_simt_tests [--every-kernel] [Catch's options]
//
// With --every-kernel, a kernel of the project that these tests did not launch is one as well.

#include <cstdio>
#include <cstring>
#include <set>
#include <string>

#define CATCH_CONFIG_RUNNER
#include "tests/catch.h"
#include "tests/simt/executor/fault.h"
#include "tests/simt/kernel_list.h"

namespace {

int print_faults() {
  const std::vector<simt::Fault> faults = simt::take_faults();
  for (const simt::Fault& f : faults)
    std::fprintf(stderr, "%s: %s\n", simt::name_of(f.kind), f.message.c_str());
  return faults.empty() ? 0 : 1;
}

int print_kernels_not_run() {
  const std::string folder = std::string(MOE_SOURCE_DIR) + "/kernels";
  const std::set<std::string> missing = moe::test::kernels_not_run(folder);
  for (const std::string& name : missing)
    std::fprintf(stderr, "%s: no test launched this kernel\n", name.c_str());
  if (missing.empty()) std::printf("All %zu kernels were launched\n", moe::test::kernels_in(folder).size());
  return missing.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool every_kernel = argc > 1 && std::strcmp(argv[1], "--every-kernel") == 0;
  if (every_kernel) {
    argv[1] = argv[0];
    ++argv, --argc;
  }
  const int failed = Catch::Session().run(argc, argv);
  const int faults = print_faults();
  const int not_run = every_kernel ? print_kernels_not_run() : 0;
  return failed ? failed : faults | not_run;
}
