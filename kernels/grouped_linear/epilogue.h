#pragma once
// What becomes of a product's result h before it is stored as y.

#include <cstdint>

namespace moe::kernels {

enum class Epilogue : uint8_t {
  none,
  relu,
  silu,  // h * sigmoid(h)
};

}  // namespace moe::kernels
