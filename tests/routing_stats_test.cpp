#include "model/routing_stats.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "model/routing_log.h"
#include "tests/catch.h"
#include "tests/file_size_limit.h"
#include "tests/model_fixture.h"
#include "tests/process.h"

using namespace moe;

namespace {

// Training passes of a small model, and what was seen of them.
struct Watched {
  MoeLm model;
  Arena arena{Device::cpu};
  RoutingStats stats;

  explicit Watched(const ModelConfig& c) : model(c) { model.initialise(5); }

  // Runs step's pass over 4 sequences and hands its routing to `look`.
  template <class Look>
  void pass(int64_t step, Look&& look) {
    const ModelConfig& c = model.config();
    const Tensor tokens = test::token_batch(c, 4, c.block_size, step);
    Tape tape(arena, Mode::train);
    ForwardOptions options;
    options.seed = 9;
    options.step = step;
    const LmOutput out = model.forward(tape, tokens, options);
    stats.observe(step, out.routing, tokens.span<int32_t>());
    look(out.routing, tokens.span<int32_t>());
  }
};

ModelConfig crowded_config() {
  ModelConfig c = test::small_config();
  c.num_experts = 5;
  c.top_k = 3;
  c.capacity_factor = 0.7;
  return c;
}

RoutingWindow watched_window(int64_t first = 0, int64_t steps = 2) {
  Watched w(crowded_config());
  for (int64_t step = first; step < first + steps; ++step) w.pass(step, [](auto&&...) {});
  return w.stats.take();
}

void check_equal(const RoutingWindow& a, const RoutingWindow& b) {
  CHECK(a.first == b.first);
  CHECK(a.end == b.end);
  CHECK(a.tokens == b.tokens);
  REQUIRE(a.fits(b));
  for (size_t l = 0; l < a.layers.size(); ++l) {
    CHECK(a.layers[l].load == b.layers[l].load);
    CHECK(a.layers[l].kept == b.layers[l].kept);
    CHECK(a.layers[l].together == b.layers[l].together);
    CHECK(a.layers[l].symbols == b.layers[l].symbols);
    CHECK(a.layers[l].entropy_tokens == b.layers[l].entropy_tokens);
    CHECK(a.layers[l].entropy() == Approx(b.layers[l].entropy()).epsilon(1e-5));
    for (size_t e = 0; e < a.layers[l].importance.size(); ++e)
      CHECK(a.layers[l].importance[e] == Approx(b.layers[l].importance[e]).epsilon(1e-5));
  }
}

}  // namespace

TEST_CASE("routing statistics are what plain loops over the routers' choices give", "[routing_stats]") {
  const ModelConfig c = crowded_config();
  Watched w(c);
  const auto E = static_cast<size_t>(c.num_experts);
  const auto layers = static_cast<size_t>(c.n_layer);
  std::vector<std::vector<int64_t>> load(layers, std::vector<int64_t>(E)), kept = load;
  std::vector<std::vector<double>> importance(layers, std::vector<double>(E));
  std::vector<std::map<std::pair<int32_t, int32_t>, int64_t>> together(layers);
  std::vector<std::map<int32_t, std::vector<int64_t>>> symbols(layers);
  std::vector<double> entropy(layers);
  int64_t tokens = 0;
  for (const int64_t step : {7, 8, 9}) {
    w.pass(step, [&](const std::vector<LayerRouting>& routing, std::span<const int32_t> ids) {
      tokens += static_cast<int64_t>(ids.size());
      for (size_t l = 0; l < layers; ++l) {
        const auto expert = routing[l].router.gating.expert.span<int32_t>();
        const auto row = routing[l].plan.row.span<int32_t>();
        const auto gate = routing[l].router.gating.gate.value().span<float>();
        const auto logits = routing[l].router.logits.value().span<float>();
        for (size_t n = 0; n < ids.size(); ++n) {
          for (size_t j = 0; j < 3; ++j) {
            const size_t a = 3 * n + j;
            const auto e = static_cast<size_t>(expert[a]);
            ++load[l][e];
            kept[l][e] += row[a] >= 0;
            importance[l][e] += static_cast<double>(gate[a]);
            symbols[l].try_emplace(ids[n], std::vector<int64_t>(E)).first->second[e] += 1;
            for (size_t i = 0; i < 3; ++i)
              if (expert[3 * n + i] < expert[a]) ++together[l][{expert[3 * n + i], expert[a]}];
          }
          double z = 0, h = 0;
          for (size_t e = 0; e < E; ++e) z += std::exp(static_cast<double>(logits[n * E + e]));
          for (size_t e = 0; e < E; ++e) {
            const double p = std::exp(static_cast<double>(logits[n * E + e])) / z;
            h -= p * std::log(p);
          }
          entropy[l] += h;
        }
      }
    });
  }
  const RoutingWindow window = w.stats.take();
  CHECK(window.first == 7);
  CHECK(window.end == 10);
  CHECK(window.tokens == tokens);
  int64_t counted = 0;
  for (size_t l = 0; l < layers; ++l) {
    const LayerWindow& layer = window.layers[l];
    CHECK(layer.load == load[l]);
    CHECK(layer.kept == kept[l]);
    CHECK(total(layer.kept) < total(layer.load));  // the capacity was felt
    CHECK(layer.dropped_share() ==
          Approx(1 - static_cast<double>(total(kept[l])) / static_cast<double>(total(load[l]))));
    CHECK(layer.symbols == symbols[l]);
    for (size_t e = 0; e < E; ++e) CHECK(layer.importance[e] == Approx(importance[l][e]));
    for (int32_t i = 0; i < c.num_experts; ++i)
      for (int32_t j = i + 1; j < c.num_experts; ++j) {
        const auto it = together[l].find({i, j});
        CHECK(layer.together[pair_index(i, j, c.num_experts)] == (it == together[l].end() ? 0 : it->second));
      }
    REQUIRE(layer.entropy_tokens == tokens);  // few tokens: all are looked at
    CHECK(layer.entropy() == Approx(entropy[l] / static_cast<double>(tokens)));
    CHECK(layer.entropy() <= std::log(static_cast<double>(E)) + 1e-9);
    counted += total(layer.load);
  }
  CHECK(counted == c.top_k * tokens * c.n_layer);  // k T L a step
}

TEST_CASE("taking a window begins another", "[routing_stats]") {
  Watched w(crowded_config());
  CHECK(w.stats.empty());
  w.pass(0, [](auto&&...) {});
  CHECK(!w.stats.empty());
  w.stats.take();
  CHECK(w.stats.empty());
  w.pass(1, [](auto&&...) {});
  check_equal(w.stats.take(), watched_window(1, 1));
}

TEST_CASE("windows of the same model add up to the window of all their steps", "[routing_stats]") {
  RoutingWindow sum = watched_window(0, 2);
  sum.add(watched_window(2, 3));
  check_equal(sum, watched_window(0, 5));
  RoutingWindow other = sum;
  other.layers.pop_back();
  CHECK_THROWS_AS(sum.add(other), Error);
}

TEST_CASE("statistics refuse a pass of another model and ids of another batch", "[routing_stats]") {
  Watched w(crowded_config()), other(test::small_config());
  w.pass(0, [](auto&&...) {});
  other.pass(0, [&](const auto& routing, std::span<const int32_t> ids) {
    CHECK_THROWS_AS(w.stats.observe(1, routing, ids), Error);
    CHECK_THROWS_AS(other.stats.observe(1, routing, ids.first(3)), Error);
  });
}

TEST_CASE("many tokens are sampled for the entropy, other ones each step", "[routing_stats]") {
  ModelConfig c = test::small_config();
  c.block_size = 100;
  Watched w(c);  // 400 tokens, every 6th
  w.pass(0, [](auto&&...) {});
  const RoutingWindow first = w.stats.take();
  CHECK(first.layers[0].entropy_tokens == 67);
  w.pass(5, [](auto&&...) {});
  CHECK(w.stats.take().layers[0].entropy_tokens == 66);
}

TEST_CASE("a row comes back from its JSON, and only whole rows do", "[routing_stats]") {
  const RoutingWindow window = watched_window();
  const std::string json = to_json(window);
  CHECK(json.find('\n') == std::string::npos);
  RoutingWindow read;
  REQUIRE(from_json(json, read));
  check_equal(read, window);
  for (size_t size = 0; size < json.size(); ++size) {
    RoutingWindow untouched;
    REQUIRE(!from_json(json.substr(0, size), untouched));
    REQUIRE(untouched.layers.empty());
  }
}

TEST_CASE("rows whose numbers contradict each other are no rows", "[routing_stats]") {
  RoutingWindow ignored;
  const auto row = [](const std::string& layer) {
    return R"({"first":0,"end":1,"tokens":2,"experts":2,"top_k":1,"layers":[{)" + layer + "}]}";
  };
  const std::string good = R"("load":[1,1],"importance":[1,1],"entropy":0.5,"sampled":2,"symbols":[[7,1,1]])";
  CHECK(from_json(row(good), ignored));
  for (const auto& [part, bad] : {std::pair<const char*, const char*>{"[1,1],\"imp", "[1,2],\"imp"},
                                  {"[1,1],\"imp", "[2],\"imp"},
                                  {"[1,1],\"imp", "[3,-1],\"imp"},
                                  {"0.5", "-1"},
                                  {"0.5", "\"x\""},
                                  {"[7,1,1]", "[7,1]"},
                                  {"[7,1,1]", "[-2,1,1]"},
                                  {"[7,1,1]", "[1e12,1,1]"},
                                  {"[7,1,1]", "[7,1,3e10]"},
                                  {"\"load\"", "\"kept\":[2,0],\"load\""},
                                  {"\"load\"", "\"together\":[],\"load\""}}) {
    std::string text = good;
    text.replace(text.find(part), std::string(part).size(), bad);
    INFO(text);
    CHECK(!from_json(row(text), ignored));
  }
}

TEST_CASE("a row without pairs needs no memory for them, and counts as none in sums", "[routing_stats]") {
  constexpr int64_t kExperts = 1 << 16;
  std::string zeros = "0";
  for (int64_t e = 2; e < kExperts; ++e) zeros += ",0";
  RoutingWindow wide;
  REQUIRE(from_json(
      fmt::format(R"({{"first":0,"end":1,"tokens":1,"experts":{},"top_k":1,"layers":[{{"load":[1,{}],)"
                  R"("importance":[1,{}],"entropy":0,"sampled":1,"symbols":[]}}]}})",
                  kExperts, zeros, zeros),
      wide));
  CHECK(wide.layers[0].together.empty());

  const RoutingWindow window = watched_window();
  RoutingWindow bare = window, sum = window;
  for (LayerWindow& layer : bare.layers) layer.together = {};
  sum.add(bare);
  bare.add(window);
  for (size_t l = 0; l < window.layers.size(); ++l) {
    CHECK(sum.layers[l].together == window.layers[l].together);
    CHECK(bare.layers[l].together == window.layers[l].together);
  }
}

TEST_CASE("a row keeps the most frequent symbols and adds up the others", "[routing_stats]") {
  RoutingWindow window;
  window.end = 1;
  window.experts = 2;
  window.top_k = 1;
  LayerWindow layer;
  for (int32_t id = 0; id < 300; ++id) {
    layer.symbols[id] = {id, 1};
    window.tokens += id + 1;
  }
  layer.load = layer.kept = {300 * 299 / 2, 300};
  layer.importance = {1, 1};
  layer.together = {0};
  window.layers = {layer};
  RoutingWindow read;
  REQUIRE(from_json(to_json(window), read));
  CHECK(read.layers[0].symbols.size() == 257);
  CHECK(read.layers[0].symbols.contains(44));
  CHECK(!read.layers[0].symbols.contains(43));
  CHECK(read.layers[0].symbols.at(kOtherSymbols) == std::vector<int64_t>{43 * 44 / 2, 44});
}

TEST_CASE("a file of rows is readable after being cut anywhere", "[routing_stats]") {
  const TempFolder folder;
  const std::string first = to_json(watched_window(0)) + "\n", second = to_json(watched_window(2)) + "\n";
  const auto read = [&](const std::string& text) {
    std::ofstream(folder / "r.jsonl", std::ios::binary) << text;
    const RoutingHistory history = read_routing(folder / "r.jsonl");
    return std::pair(history.windows.size(), history.skipped);
  };
  CHECK(read(first + second) == std::pair<size_t, int64_t>(2, 0));
  for (size_t size = 1; size < second.size() - 1; size += 7)
    REQUIRE(read(first + second.substr(0, size)) == std::pair<size_t, int64_t>(1, 1));
  const RoutingHistory none = read_routing(folder / "missing.jsonl");
  CHECK(none.windows.empty());
  CHECK(!none.recent);
  CHECK(none.skipped == 0);
}

TEST_CASE("of overlapping rows the later ones count", "[routing_stats]") {
  const TempFolder folder;
  std::ofstream file(folder / "r.jsonl");
  for (const int64_t first : {0, 2, 4, 3}) file << to_json(watched_window(first)) << "\n";
  file.close();
  const auto windows = read_routing(folder / "r.jsonl").windows;
  REQUIRE(windows.size() == 2);
  CHECK(windows[1].first == 3);
}

TEST_CASE("the last quarter of a run is added up, and what takes most memory kept of it alone",
          "[routing_stats]") {
  const TempFolder folder;
  std::ofstream file(folder / "r.jsonl");
  std::vector<RoutingWindow> all;
  for (int64_t i = 0; i < 12; ++i) {
    all.push_back(watched_window(2 * i));
    file << to_json(all.back()) << "\n";
  }
  file.close();
  const RoutingHistory history = read_routing(folder / "r.jsonl");
  REQUIRE(history.windows.size() == 12);
  for (size_t i = 0; i < 12; ++i) {
    CHECK(history.windows[i].first == all[i].first);
    CHECK(history.windows[i].layers[1].load == all[i].layers[1].load);
    CHECK(history.windows[i].layers[1].symbols.empty());
    CHECK(history.windows[i].layers[1].together.empty());
  }
  RoutingWindow recent = all[11];
  for (const size_t i : {10, 9}) recent.add(all[i]);
  REQUIRE(history.recent);
  check_equal(*history.recent, recent);
}

TEST_CASE("coarse windows hold what the fine ones held", "[routing_stats]") {
  std::vector<RoutingWindow> windows;
  for (int64_t i = 0; i < 7; ++i) windows.push_back(watched_window(2 * i));
  const auto coarse = coarsen(windows, 3);
  REQUIRE(coarse.size() == 3);
  CHECK(coarse.front().first == 0);
  CHECK(coarse.back().end == 14);
  RoutingWindow all = windows[0], again = coarse[0];
  for (size_t i = 1; i < windows.size(); ++i) all.add(windows[i]);
  for (size_t i = 1; i < coarse.size(); ++i) again.add(coarse[i]);
  check_equal(all, again);
}

TEST_CASE("the log of a resumed run drops what lies ahead of it, and a new run's log starts anew",
          "[routing_stats]") {
  const TempFolder folder;
  const auto path = folder / "routing.jsonl";
  {
    RoutingLog log(path, 0);
    for (const int64_t first : {0, 2, 4}) log.append(watched_window(first));
  }
  std::ofstream(path, std::ios::app) << "{\"first\": 6, \"en";
  {
    RoutingLog log(path, 4);
    log.append(watched_window(4, 1));
  }
  const RoutingHistory history = read_routing(path);
  const auto& windows = history.windows;
  CHECK(history.skipped == 0);
  REQUIRE(windows.size() == 3);
  CHECK(windows.back().end == 5);
  { const RoutingLog log(path, 0); }
  CHECK(file_text(path).empty());
}

TEST_CASE("a row that does not fit on the disk leaves no trace", "[routing_stats]") {
  const TempFolder folder;
  RoutingLog log(folder / "routing.jsonl", 0);
  log.append(watched_window());
  const std::string before = file_text(folder / "routing.jsonl");
  {
    const FileSizeLimit limit(before.size() + 100);
    const std::string message = message_of(ErrorKind::resource, [&] { log.append(watched_window(2)); });
    CHECK(message.find("routing.jsonl") != std::string::npos);
  }
  CHECK(file_text(folder / "routing.jsonl") == before);
  log.append(watched_window(2));
  CHECK(read_routing(folder / "routing.jsonl").windows.size() == 2);
}
