#include "tests/catch_runner.h"

// A kernel that wrote far outside may have destroyed the heap, on which Catch's handler of signals would
// wait.
#define CATCH_CONFIG_NO_POSIX_SIGNALS
#define CATCH_CONFIG_RUNNER
#include "tests/catch.h"

namespace moe::test {

int run_catch(int argc, char** argv) {
  return Catch::Session().run(argc, argv);
}

}  // namespace moe::test
