#pragma once
// What dropout keeps.

#include <cstdint>

#include "core/host_device.h"

namespace moe::kernels {

// Dropping with probability p: an element is kept iff its draw is at least threshold = floor(p * 2^32), and
// is then multiplied by scale = 1 / (1 - p). Nothing is dropped or scaled when the threshold is 0.
struct DropRule {
  uint32_t threshold = 0;
  double scale = 1;

  DropRule() = default;
  explicit DropRule(double p)
      : threshold(static_cast<uint32_t>(p * 0x1p32)), scale(drops() ? 1 / (1 - p) : 1) {}
  MOE_HOST_DEVICE bool drops() const { return threshold > 0; }
};

}  // namespace moe::kernels
