#pragma once

#include "core/device.h"

namespace moe::test {

// Computes in a precision as long as it lives.
class InPrecision {
 public:
  explicit InPrecision(Precision p) { set_current_precision(p); }
  ~InPrecision() { set_current_precision(Precision::fp32); }
  InPrecision(const InPrecision&) = delete;
  InPrecision& operator=(const InPrecision&) = delete;
};

}  // namespace moe::test
