#pragma once
// Which experts each token of a passage is sent to, layer by layer, and with which gates.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/moe_lm.h"

namespace moe {

struct RoutingMap {
  int64_t layers = 0, tokens = 0, top_k = 0, experts = 0;
  std::vector<int32_t> expert;      // [layers, tokens, top_k], by falling gate
  std::vector<float> gate;          // the same
  std::vector<std::string> pieces;  // [tokens] the text of each, which its maker fills in

  size_t index(int64_t layer, int64_t token) const {
    return static_cast<size_t>((layer * tokens + token) * top_k);
  }
};

// Runs the model, in inference, over ids in windows of block_size that overlap by half, so that a token sees
// at least half a block of what stands before it.
RoutingMap map_routing(const MoeLm& model, std::span<const int32_t> ids);

// How long a passage may be for a page that holds its map: at most 1500 tokens, fewer for many layers.
int64_t map_length(const ModelConfig&);

// A passage that the model writes itself, from the token `start`; start is not part of it.
std::vector<int32_t> write_passage(const MoeLm& model, int32_t start, int64_t tokens, uint64_t seed);

}  // namespace moe
