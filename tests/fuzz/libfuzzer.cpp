// A libFuzzer program for the target that MOE_FUZZ_TARGET names.

#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const moe::fuzz::Target target = moe::fuzz::find(MOE_FUZZ_TARGET);
  target({reinterpret_cast<const char*>(data), size});
  return 0;
}
