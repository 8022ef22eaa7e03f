#include "model/routing_stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace moe {
namespace {

constexpr int64_t kEntropyTokens = 64;
// Symbols with a row of their own. The ids of characters, and the most frequent of byte pairs, are the
// lowest.
constexpr int32_t kSymbols = 4096;

template <class T>
double entropy_of(const T* logits, int64_t experts) {
  // With z = sum of exp(x - max): H = ln z - sum of (x - max) exp(x - max) / z.
  const double max = *std::max_element(logits, logits + experts);
  double z = 0, weighted = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const double x = logits[e] - max, p = std::exp(x);
    z += p;
    if (p > 0) weighted += x * p;
  }
  return std::log(z) - weighted / z;
}

template <class T>
void add_entropy(const Tensor& logits, int64_t step, LayerWindow& layer) {
  const int64_t tokens = logits.size(0), experts = logits.size(1);
  const int64_t stride = std::max<int64_t>(1, tokens / kEntropyTokens);
  for (int64_t n = step % stride; n < tokens; n += stride) {
    const double h = entropy_of(logits.data<T>() + n * experts, experts);
    if (!std::isfinite(h)) continue;
    layer.entropy_sum += h;
    ++layer.entropy_tokens;
  }
}

template <class T>
void add_importance(const Tensor& gate, std::span<const int32_t> expert, LayerWindow& layer) {
  const std::span<T> gates = gate.span<T>();
  for (size_t a = 0; a < gates.size(); ++a) layer.importance[static_cast<size_t>(expert[a])] += gates[a];
}

template <class T>
void add_to(std::vector<T>& sum, const std::vector<T>& other) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
}

// Counts of which none at all stand for zeros.
void add_pairs(std::vector<int64_t>& sum, const std::vector<int64_t>& other) {
  if (sum.empty())
    sum = other;
  else if (!other.empty())
    add_to(sum, other);
}

}  // namespace

int64_t total(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

double LayerWindow::entropy() const {
  return entropy_tokens > 0 ? entropy_sum / static_cast<double>(entropy_tokens) : 0;
}

double LayerWindow::dropped_share() const {
  const int64_t asked = total(load);
  return asked > 0 ? 1 - static_cast<double>(total(kept)) / static_cast<double>(asked) : 0;
}

double LayerWindow::busiest_over_mean() const {
  const int64_t asked = total(load);
  if (asked == 0) return 0;
  return static_cast<double>(*std::ranges::max_element(load)) * static_cast<double>(load.size()) /
         static_cast<double>(asked);
}

void RoutingWindow::add(const RoutingWindow& other) {
  require(fits(other), "routing window: {} layers of {} experts cannot be added to {} of {}",
          other.layers.size(), other.experts, layers.size(), experts);
  first = std::min(first, other.first);
  end = std::max(end, other.end);
  tokens += other.tokens;
  for (size_t l = 0; l < layers.size(); ++l) {
    LayerWindow& a = layers[l];
    const LayerWindow& b = other.layers[l];
    add_to(a.load, b.load);
    add_to(a.kept, b.kept);
    add_to(a.importance, b.importance);
    add_pairs(a.together, b.together);
    a.entropy_sum += b.entropy_sum;
    a.entropy_tokens += b.entropy_tokens;
    for (const auto& [symbol, counts] : b.symbols) {
      const auto [row, fresh] = a.symbols.try_emplace(symbol, counts);
      if (!fresh) add_to(row->second, counts);
    }
  }
}

void RoutingStats::begin(std::span<const LayerRouting> routing) {
  const DispatchPlan& plan = routing.front().plan;
  const auto experts = static_cast<size_t>(plan.experts);
  window_.experts = plan.experts;
  window_.top_k = plan.topk;
  window_.layers.resize(routing.size());
  for (LayerWindow& layer : window_.layers) {
    layer.load.assign(experts, 0);
    layer.kept.assign(experts, 0);
    layer.importance.assign(experts, 0);
  }
  pairs_.assign(routing.size(), std::vector<int64_t>(experts * experts));
  symbols_.resize(routing.size());
}

void RoutingStats::observe(int64_t step, std::span<const LayerRouting> routing,
                           std::span<const int32_t> ids) {
  require(!routing.empty(), "routing statistics: a pass without layers");
  if (empty()) begin(routing);
  require(routing.size() == window_.layers.size(), "routing statistics: a pass of {} layers after one of {}",
          routing.size(), window_.layers.size());
  for (size_t l = 0; l < routing.size(); ++l) {
    const DispatchPlan& plan = routing[l].plan;
    require(plan.experts == window_.experts && plan.topk == window_.top_k,
            "routing statistics: layer {} has {} of {} experts, not {} of {}", l, plan.topk, plan.experts,
            window_.top_k, window_.experts);
    require(plan.tokens == static_cast<int64_t>(ids.size()), "routing statistics: {} ids for {} tokens",
            ids.size(), plan.tokens);
    add_layer(routing[l], ids, step, l);
  }
  window_.first = empty() ? step : std::min(window_.first, step);
  window_.end = std::max(window_.end, step + 1);
  window_.tokens += static_cast<int64_t>(ids.size());
}

void RoutingStats::add_layer(const LayerRouting& routing, std::span<const int32_t> ids, int64_t step,
                             size_t index) {
  LayerWindow& layer = window_.layers[index];
  const auto experts = static_cast<size_t>(window_.experts), k = static_cast<size_t>(window_.top_k);
  const std::span<int32_t> count = routing.plan.count.span<int32_t>();
  const std::span<int32_t> offsets = routing.plan.offsets.span<int32_t>();
  for (size_t e = 0; e < experts; ++e) {
    layer.load[e] += count[e];
    layer.kept[e] += offsets[e + 1] - offsets[e];
  }

  const std::span<int32_t> chosen = routing.router.gating.expert.span<int32_t>();
  std::vector<int64_t>&pairs = pairs_[index], &symbols = symbols_[index];
  for (size_t n = 0; n < ids.size(); ++n) {
    const int32_t* mine = chosen.data() + n * k;
    const auto row = static_cast<size_t>(std::min(ids[n], kSymbols)) * experts;
    if (row + experts > symbols.size()) symbols.resize(row + experts);
    for (size_t i = 0; i < k; ++i) {
      ++symbols[row + static_cast<size_t>(mine[i])];
      for (size_t j = i + 1; j < k; ++j)
        ++pairs[static_cast<size_t>(mine[i]) * experts + static_cast<size_t>(mine[j])];
    }
  }

  const Tensor& gate = routing.router.gating.gate.value();
  const Tensor& logits = routing.router.logits.value();
  if (gate.dtype() == DType::f64) {
    add_importance<double>(gate, chosen, layer);
    add_entropy<double>(logits, step, layer);
  } else {
    add_importance<float>(gate, chosen, layer);
    add_entropy<float>(logits, step, layer);
  }
}

RoutingWindow RoutingStats::take() {
  const int64_t experts = window_.experts;
  for (size_t l = 0; l < window_.layers.size(); ++l) {
    LayerWindow& layer = window_.layers[l];
    layer.together.reserve(static_cast<size_t>(experts * (experts - 1) / 2));
    for (int64_t i = 0; i < experts; ++i)
      for (int64_t j = i + 1; j < experts; ++j)
        layer.together.push_back(pairs_[l][static_cast<size_t>(i * experts + j)] +
                                 pairs_[l][static_cast<size_t>(j * experts + i)]);
    for (auto row = symbols_[l].begin(); row != symbols_[l].end(); row += experts) {
      if (std::all_of(row, row + experts, [](int64_t n) { return n == 0; })) continue;
      const auto id = static_cast<int32_t>((row - symbols_[l].begin()) / experts);
      layer.symbols.emplace(id < kSymbols ? id : kOtherSymbols, std::vector<int64_t>(row, row + experts));
    }
    std::ranges::fill(symbols_[l], 0);
  }
  return std::exchange(window_, {});
}

}  // namespace moe
