// Linked into a program whose kernels run on the executor: faults that it ends with are told, and its exit
// code is then kFaultCode.

#include <unistd.h>

#include <cstdio>

#include "tests/simt/executor/fault.h"

namespace {

constexpr int kFaultCode = 99;

struct AtExit {
  ~AtExit() {
    const std::vector<simt::Fault> faults = simt::take_faults();
    for (const simt::Fault& f : faults)
      std::fprintf(stderr, "%s: %s\n", simt::name_of(f.kind), f.message.c_str());
    std::fflush(nullptr);
    if (!faults.empty()) _exit(kFaultCode);
  }
} at_exit;

}  // namespace
