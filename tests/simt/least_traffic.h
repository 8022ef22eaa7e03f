#pragma once
// The least that a training step's kernels can read and write: each operand once, each result once, and what
// is added to once more: gradients of parameters, and those of activations to which something was written
// before. From shapes alone.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "model/config.h"

namespace moe::test {

struct LeastTraffic {
  double bytes = 0;      // of all launches of a step together
  bool streams = false;  // the kernel's work is to move rows, so that it should move 128 bits at a time
};

// By the names that traffic_name gives. A step of `batch` sequences of block_size tokens, of which `symbols`
// are different, with the noisy router, dropout and no auxiliary losses; every expert has a token. Small
// results, as the partial sums of a norm, are left out.
std::map<std::string, LeastTraffic> least_traffic(const ModelConfig&, int64_t batch, int64_t symbols);

// "attention_forward_kernel" of attention_forward_kernel<Tile<16, 32, 32>>: all instances of a kernel are
// one, but where the template argument is what is computed: "elementwise_kernel<Sum>" of
// elementwise_kernel<2, 1, Sum>.
std::string traffic_name(std::string_view kernel);

}  // namespace moe::test
