#include "model/routing_map.h"

#include "model/generate.h"
#include "tests/catch.h"
#include "tests/model_fixture.h"

using namespace moe;

namespace {

// What each layer's router chooses in one pass over a window.
void check_window(const MoeLm& model, const RoutingMap& map, std::span<const int32_t> window,
                  int64_t first_token, int64_t skip) {
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::infer);
  const auto length = static_cast<int64_t>(window.size());
  const LmOutput out = model.forward(tape, Tensor::from(window, {1, length}), {});
  for (int64_t l = 0; l < map.layers; ++l) {
    const Gating& gating = out.routing[static_cast<size_t>(l)].router.gating;
    for (int64_t n = skip; n < length; ++n)
      for (int64_t j = 0; j < map.top_k; ++j) {
        const size_t i = map.index(l, first_token + n - skip) + static_cast<size_t>(j);
        const auto a = static_cast<size_t>(n * map.top_k + j);
        REQUIRE(map.expert[i] == gating.expert.span<int32_t>()[a]);
        REQUIRE(map.gate[i] == gating.gate.value().span<float>()[a]);
      }
  }
}

}  // namespace

TEST_CASE("a routing map is what the router chooses in overlapping windows", "[routing_map]") {
  const ModelConfig c = test::small_config();  // block_size 6
  const MoeLm model(c, DType::f32, Device::cpu, false);
  model.initialise(4);
  const std::vector<int32_t> ids{1, 5, 2, 7, 3, 3, 0, 9, 10, 4, 6};
  const RoutingMap map = map_routing(model, ids);
  CHECK(map.tokens == 11);
  CHECK(map.layers == c.n_layer);
  const std::span<const int32_t> all(ids);
  check_window(model, map, all.subspan(0, 6), 0, 0);
  check_window(model, map, all.subspan(3, 6), 6, 3);
  check_window(model, map, all.subspan(6, 5), 9, 3);
  CHECK(map_routing(model, all.first(0)).expert.empty());
}

TEST_CASE("a block of one can be mapped too", "[routing_map]") {
  ModelConfig c = test::small_config();
  c.block_size = 1;
  const MoeLm model(c, DType::f32, Device::cpu, false);
  model.initialise(4);
  const std::vector<int32_t> ids{1, 5, 2};
  const RoutingMap map = map_routing(model, ids);
  for (int64_t n = 0; n < 3; ++n)
    check_window(model, map, std::span(ids).subspan(static_cast<size_t>(n), 1), n, 0);
}

TEST_CASE("a generator tells the last token's experts, before and after its window slides", "[routing_map]") {
  for (const RouterKind router : {RouterKind::noisy_topk, RouterKind::topk}) {
    ModelConfig c = test::small_config();
    c.router = router;
    const MoeLm model(c, DType::f32, Device::cpu, false);
    model.initialise(4);
    Generator generator(model, {}, 3), silent(model, {}, 3);
    std::vector<int32_t> text{1, 9};
    generator.feed(text);
    silent.feed(text);
    for (int i = 0; i < 12; ++i) {
      const size_t length = std::min<size_t>(text.size(), 6);
      const std::span<const int32_t> window = std::span(text).last(length);
      const RoutingMap map = map_routing(model, window);
      const auto experts = generator.experts();
      REQUIRE(experts.size() == static_cast<size_t>(c.n_layer));
      for (int64_t l = 0; l < c.n_layer; ++l)
        REQUIRE(experts[static_cast<size_t>(l)] ==
                map.expert[map.index(l, static_cast<int64_t>(length) - 1)]);
      text.push_back(generator.next());
      REQUIRE(silent.next() == text.back());  // asking changes nothing
    }
  }
}

TEST_CASE("maps of deep models are shorter", "[routing_map]") {
  ModelConfig c = test::small_config();
  CHECK(map_length(c) == 1500);
  c.n_layer = 100;
  CHECK(map_length(c) == 500);
}
