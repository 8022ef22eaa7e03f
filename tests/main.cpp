#include "tests/catch_runner.h"

int main(int argc, char** argv) {
  return moe::test::run_catch(argc, argv);
}
