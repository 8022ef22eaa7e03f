#pragma once
// What the routers of a run did, added up over windows of steps. One window becomes one row of routing.jsonl
// (model/routing_log.h), from which the pictures of the experts are made.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/layers.h"

namespace moe {

int64_t total(const std::vector<int64_t>& counts);

// One layer in one window. All counts are of the router's choices, before any capacity, unless they say kept.
struct LayerWindow {
  std::vector<int64_t> load;       // [E] assignments; sums to k * tokens
  std::vector<int64_t> kept;       // [E] those within the capacity
  std::vector<double> importance;  // [E] sum of gates (Shazeer et al. 2017, eq. 6)
  double entropy_sum = 0;          // of H over entropy_tokens tokens, see RoutingStats
  int64_t entropy_tokens = 0;
  std::vector<int64_t> together;  // [E(E-1)/2] tokens with both experts, pair_index(i, j, E); or empty: none
  // By symbol (token id): assignments to each expert, [E]. kOtherSymbols holds the sum of what has no row.
  std::map<int32_t, std::vector<int64_t>> symbols;

  double entropy() const;  // mean nats a token; 0 when nothing was sampled
  double dropped_share() const;
  // Load of the busiest expert over the mean load; 0 without load.
  double busiest_over_mean() const;
};
inline constexpr int32_t kOtherSymbols = -1;

// Pairs 0 <= i < j < E in the order (0,1), (0,2), ..., (1,2), ...
inline size_t pair_index(int64_t i, int64_t j, int64_t experts) {
  return static_cast<size_t>(i * (2 * experts - i - 1) / 2 + (j - i - 1));
}

// Steps first .. end - 1, `tokens` tokens altogether. Nothing was seen when tokens is 0.
struct RoutingWindow {
  int64_t first = 0, end = 0, tokens = 0;
  int64_t experts = 0, top_k = 0;
  std::vector<LayerWindow> layers;

  bool fits(const RoutingWindow& other) const {
    return experts == other.experts && top_k == other.top_k && layers.size() == other.layers.size();
  }
  // Adds a window of the same model.
  void add(const RoutingWindow& other);
};

// Looks at training passes and adds up a window.
//
// Load, kept, importance, pairs and symbols are exact. The entropy of the router is that of the full softmax
// p over a token's clean logits, H = -sum over e of p_e ln p_e, between 0 and ln E; since it costs E
// exponentials a token it is taken of about 64 tokens a layer and pass, evenly spaced, other ones each step.
class RoutingStats {
 public:
  // One pass of `step`; a step that accumulates gradients has several. ids: the tokens [N] the pass ran on,
  // as the routing's tensors on Device::cpu. Throws ErrorKind::runtime when the pass is of another shape of
  // model than the passes before it.
  void observe(int64_t step, std::span<const LayerRouting> routing, std::span<const int32_t> ids);

  bool empty() const { return window_.tokens == 0; }
  // What was seen since the last call; a new window begins.
  RoutingWindow take();

 private:
  void begin(std::span<const LayerRouting> routing);
  void add_layer(const LayerRouting& routing, std::span<const int32_t> ids, int64_t step, size_t layer);

  RoutingWindow window_;
  // Of each layer, for speed: pairs [E, E] with i, j in the order of choice, symbols [min(V, kSymbols) + 1,
  // E].
  std::vector<std::vector<int64_t>> pairs_, symbols_;
};

}  // namespace moe
