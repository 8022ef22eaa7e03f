// Runs the tests; a fault that the executor found and no test asked for is a failure.

#include <cstdio>

#define CATCH_CONFIG_RUNNER
#include "tests/catch.h"
#include "tests/simt/executor/fault.h"

int main(int argc, char** argv) {
  const int failed = Catch::Session().run(argc, argv);
  const std::vector<simt::Fault> faults = simt::take_faults();
  for (const simt::Fault& f : faults)
    std::fprintf(stderr, "%s: %s\n", simt::name_of(f.kind), f.message.c_str());
  return failed ? failed : faults.empty() ? 0 : 1;
}
