#pragma once
// The tables of a report drawn as shades: who got how much, when, together with whom.

#include <string>
#include <vector>

#include "model/report_figure.h"
#include "model/routing_log.h"

namespace moe {

// One layer's load of each expert over time, in shades of its ratio to the even share; no token at all is
// struck out.
Figure draw_load(const std::vector<RoutingWindow>& windows, size_t layer);
// How often two experts get the same token, over what their loads alone would give.
Figure draw_together(const RoutingWindow& window, size_t layer);
// Which share of a symbol's tokens goes to each expert. `symbols`: text by token id.
Figure draw_symbols(const RoutingWindow& window, size_t layer, const std::vector<std::string>& symbols);

// The most frequent symbols of a window that have a row of their own, in the order of ids.
std::vector<int32_t> frequent_symbols(const RoutingWindow& window, size_t most);
// What to show for an id: its text made visible, or #id for one that `symbols` does not have.
std::string symbol_name(int32_t id, const std::vector<std::string>& symbols);

// expected[i, j] = c load_i load_j for i < j, with the c for which they add up to all pairs; c, or 0.
double pair_scale(const LayerWindow& layer);

}  // namespace moe
