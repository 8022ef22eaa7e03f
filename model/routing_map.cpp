#include "model/routing_map.h"

#include <algorithm>

#include "model/generate.h"

namespace moe {
namespace {

template <class T>
void copy_gates(const Tensor& gate, size_t from, size_t count, float* to) {
  const std::span<T> all = gate.span<T>();
  for (size_t i = 0; i < count; ++i) to[i] = static_cast<float>(all[from + i]);
}

// Tokens first .. end - 1 of the map are those from `skip` on in the pass.
void copy_pass(const std::vector<LayerRouting>& routing, int64_t first, int64_t end, int64_t skip,
               RoutingMap& map) {
  const auto from = static_cast<size_t>(skip * map.top_k),
             count = static_cast<size_t>((end - first) * map.top_k);
  for (int64_t l = 0; l < map.layers; ++l) {
    const Gating& gating = routing[static_cast<size_t>(l)].router.gating;
    const Tensor expert = gating.expert.to(Device::cpu), gate = gating.gate.value().to(Device::cpu);
    const size_t to = map.index(l, first);
    std::copy_n(expert.span<int32_t>().data() + from, count, map.expert.data() + to);
    if (gate.dtype() == DType::f64)
      copy_gates<double>(gate, from, count, map.gate.data() + to);
    else
      copy_gates<float>(gate, from, count, map.gate.data() + to);
  }
}

}  // namespace

RoutingMap map_routing(const MoeLm& model, std::span<const int32_t> ids) {
  const ModelConfig& c = model.config();
  RoutingMap map;
  map.layers = c.n_layer;
  map.tokens = static_cast<int64_t>(ids.size());
  map.top_k = c.top_k;
  map.experts = c.num_experts;
  map.expert.resize(map.index(c.n_layer, 0));
  map.gate.resize(map.expert.size());

  Arena arena(model.device());
  const int64_t stride = std::max<int64_t>(1, c.block_size / 2);
  int64_t done = 0;
  for (int64_t start = 0; done < map.tokens; start += stride) {
    const int64_t end = std::min(start + c.block_size, map.tokens);
    const std::span<const int32_t> window =
        ids.subspan(static_cast<size_t>(start), static_cast<size_t>(end - start));
    Tape tape(arena, Mode::infer);
    const Tensor tokens = Tensor::from(window, {1, end - start}).to(model.device());
    const LmOutput out = model.forward(tape, tokens, {});
    copy_pass(out.routing, done, end, done - start, map);
    done = end;
  }
  return map;
}

int64_t map_length(const ModelConfig& c) {
  constexpr int64_t kMost = 1500, kMostEntries = 100'000;
  return std::clamp<int64_t>(kMostEntries / (c.n_layer * c.top_k), 1, kMost);
}

std::vector<int32_t> write_passage(const MoeLm& model, int32_t start, int64_t tokens, uint64_t seed) {
  Generator generator(model, {}, seed);
  generator.feed(std::span(&start, 1));
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  for (int32_t& id : ids) id = generator.next();
  return ids;
}

}  // namespace moe
