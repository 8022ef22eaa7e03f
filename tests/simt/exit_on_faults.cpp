// Linked into a program whose kernels run on the executor: faults that it ends with are told, and its exit
// code is then kFaultCode.

#include <unistd.h>

#include <cstdio>

#include "tests/simt/executor/fault.h"

namespace {

constexpr int kFaultCode = 99;

struct AtExit {
  AtExit() { simt::take_faults(); }  // so that the list was there before this, and is still there after it
  ~AtExit() {
    const bool any = simt::print_faults();
    std::fflush(nullptr);
    if (any) _exit(kFaultCode);
  }
} at_exit;

}  // namespace
