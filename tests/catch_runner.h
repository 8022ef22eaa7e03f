#pragma once
// Catch's own part, which is compiled once for all test programs.

namespace moe::test {

// Runs the tests of this program as its command line says, and returns the exit code.
int run_catch(int argc, char** argv);

}  // namespace moe::test
