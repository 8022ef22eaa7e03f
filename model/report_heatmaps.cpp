#include "model/report_heatmaps.h"

#include <algorithm>
#include <map>

namespace moe {
namespace {

constexpr double kTableTop = 28, kTableBottom = 38, kTableLeft = 34;
constexpr size_t kMostSymbols = 72;

double row_height(int64_t experts, double wanted_total, double most) {
  return std::clamp(wanted_total / static_cast<double>(experts), 4.0, most);
}

// Numbers of the experts at the left of their rows; of narrow rows only some.
std::string expert_labels(int64_t experts, double left, double top, double height) {
  int64_t every = 1;
  while (static_cast<double>(every) * height < 10) every *= 2;
  std::string out;
  for (int64_t e = 0; e < experts; e += every)
    append_path(out, "<text class=\"label end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", left - 5,
                top + (static_cast<double>(e) + 0.5) * height + 4, e);
  return out;
}

std::string frame(double x, double y, double width, double height) {
  return fmt::format("<rect class=\"frame\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>",
                     x, y, width, height);
}

// [rows][columns] numbers as JSON.
template <class Value>
nlohmann::json table_json(size_t rows, size_t columns, Value&& value) {
  nlohmann::json table = nlohmann::json::array();
  for (size_t r = 0; r < rows; ++r) {
    nlohmann::json row = nlohmann::json::array();
    for (size_t c = 0; c < columns; ++c) row.push_back(value(r, c));
    table.push_back(std::move(row));
  }
  return table;
}

int64_t pairs_of(const LayerWindow& layer, size_t i, size_t j) {
  if (i == j || layer.together.empty()) return 0;
  const auto a = static_cast<int64_t>(std::min(i, j)), b = static_cast<int64_t>(std::max(i, j));
  return layer.together[pair_index(a, b, static_cast<int64_t>(layer.load.size()))];
}

}  // namespace

Figure draw_load(const std::vector<RoutingWindow>& windows, size_t layer) {
  constexpr double kWidth = 560, kRight = 48;
  const int64_t experts = windows.back().experts;
  const auto rows = static_cast<size_t>(experts);
  const double cell = row_height(experts, 144, 18);
  Axes axes{kTableLeft, kTableTop, kWidth - kTableLeft - kRight, cell * static_cast<double>(experts)};
  axes.x0 = static_cast<double>(windows.front().first);
  axes.x1 = static_cast<double>(windows.back().end);
  axes.y1 = static_cast<double>(experts);

  Figure figure{fmt::format("load-layer-{}", layer), fmt::format("Layer {}: load of each expert", layer),
                "Assignments to each expert over time, against the even share. Struck out: no token at all.",
                kWidth, axes.bottom() + kTableBottom};
  CellPainter painter;
  for (size_t e = 0; e < rows; ++e) {
    const double y = axes.top + cell * static_cast<double>(e);
    for (const RoutingWindow& w : windows) {
      const std::vector<int64_t>& load = w.layers[layer].load;
      const double x = axes.x(static_cast<double>(w.first)), width = axes.x(static_cast<double>(w.end)) - x;
      const double even = static_cast<double>(total(load)) / static_cast<double>(experts);
      painter.add(x, y, width, cell, ratio_shade(static_cast<double>(load[e]) / even));
      if (load[e] == 0) painter.strike(x, y, width, cell);
    }
    const std::vector<int64_t>& last = windows.back().layers[layer].load;
    if (cell >= 10)
      append_path(figure.body, "<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\">{:.1f} %</text>",
                  axes.right() + 5, y + cell / 2 + 4,
                  100 * static_cast<double>(last[e]) / static_cast<double>(total(last)));
  }
  figure.body += painter.svg() + frame(axes.left, axes.top, axes.width, axes.height) +
                 expert_labels(experts, axes.left, axes.top, cell) + draw_x_axis(axes) +
                 draw_ratio_legend(axes.right(), 6, "none");
  nlohmann::json columns = nlohmann::json::array();
  for (const RoutingWindow& w : windows) columns.push_back({w.first, w.end});
  figure.data = {{"kind", "load"},
                 {"axes", axes.json()},
                 {"columns", columns},
                 {"values", table_json(rows, windows.size(), [&](size_t e, size_t w) {
                    return windows[w].layers[layer].load[e];
                  })}};
  return figure;
}

double pair_scale(const LayerWindow& layer) {
  double expected = 0, sum = 0;
  for (const int64_t n : layer.load) {
    expected += sum * static_cast<double>(n);
    sum += static_cast<double>(n);
  }
  return expected > 0 ? static_cast<double>(total(layer.together)) / expected : 0;
}

Figure draw_together(const RoutingWindow& window, size_t layer) {
  constexpr double kWidth = 270;
  const LayerWindow& l = window.layers[layer];
  const auto experts = static_cast<size_t>(window.experts);
  const double cell = std::clamp(200 / static_cast<double>(experts), 3.0, 26.0);
  const double side = cell * static_cast<double>(experts);
  Axes axes{
      kTableLeft, kTableTop, side, side, 0, static_cast<double>(experts), 0, static_cast<double>(experts)};
  Figure figure{fmt::format("together-layer-{}", layer), fmt::format("Layer {}", layer),
                "How often two experts get the same token, over what their loads alone would give.",
                std::max(kWidth, kTableLeft + side + 10), kTableTop + side + 14};
  const double scale = pair_scale(l);
  CellPainter painter;
  for (size_t i = 0; i < experts; ++i) {
    for (size_t j = 0; j < experts; ++j) {
      const double expected = scale * static_cast<double>(l.load[i]) * static_cast<double>(l.load[j]);
      const double ratio = expected > 0 ? static_cast<double>(pairs_of(l, i, j)) / expected : 1;
      painter.add(axes.left + cell * static_cast<double>(j), axes.top + cell * static_cast<double>(i), cell,
                  cell, i == j ? 0 : ratio_shade(ratio));
    }
  }
  figure.body = painter.svg() + frame(axes.left, axes.top, side, side);
  append_path(figure.body, "<path class=\"frame\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", axes.left, axes.top,
              axes.right(), axes.bottom());
  figure.body +=
      expert_labels(window.experts, axes.left, axes.top, cell) + draw_ratio_legend(kWidth - 10, 6, nullptr);
  figure.data = {
      {"kind", "together"},
      {"axes", axes.json()},
      {"load", l.load},
      {"scale", scale},
      {"values", table_json(experts, experts, [&](size_t i, size_t j) { return pairs_of(l, i, j); })}};
  return figure;
}

std::vector<int32_t> frequent_symbols(const RoutingWindow& window, size_t most) {
  std::map<int32_t, int64_t> counts;
  for (const LayerWindow& l : window.layers)
    for (const auto& [id, row] : l.symbols)
      if (id != kOtherSymbols) counts[id] += total(row);
  std::vector<std::pair<int64_t, int32_t>> by_count;
  by_count.reserve(counts.size());
  for (const auto& [id, n] : counts) by_count.emplace_back(-n, id);
  std::ranges::sort(by_count);
  by_count.resize(std::min(by_count.size(), most));
  std::vector<int32_t> ids;
  ids.reserve(by_count.size());
  for (const auto& [n, id] : by_count) ids.push_back(id);
  std::ranges::sort(ids);
  return ids;
}

std::string symbol_name(int32_t id, const std::vector<std::string>& symbols) {
  if (id == kOtherSymbols) return "others";
  const auto i = static_cast<size_t>(id);
  return i < symbols.size() ? visible_symbol(symbols[i]) : fmt::format("#{}", id);
}

Figure draw_symbols(const RoutingWindow& window, size_t layer, const std::vector<std::string>& symbols) {
  constexpr double kWidth = 1150, kSymbolsTop = 44, kRight = 8;
  const LayerWindow& l = window.layers[layer];
  const auto experts = static_cast<size_t>(window.experts);
  const std::vector<int32_t> ids = frequent_symbols(window, kMostSymbols);
  const double cell = row_height(window.experts, 136, 17);
  const double columns = std::max<double>(1, static_cast<double>(ids.size()));
  Axes axes{kTableLeft, kSymbolsTop, kWidth - kTableLeft - kRight, cell * static_cast<double>(experts)};
  const double width = std::min(30.0, axes.width / columns);
  axes.width = width * columns;
  axes.x1 = columns;
  axes.y1 = static_cast<double>(experts);
  Figure figure{fmt::format("symbols-layer-{}", layer),
                fmt::format("Layer {}: which share of a symbol's tokens each expert takes", layer),
                "Full colour: every token of the symbol has the expert among its k.", kWidth,
                axes.bottom() + 10};

  const auto count = [&](size_t e, size_t s) {
    const auto it = l.symbols.find(ids[s]);
    return it == l.symbols.end() ? int64_t{0} : it->second[e];
  };
  CellPainter painter;
  nlohmann::json names = nlohmann::json::array();
  for (size_t s = 0; s < ids.size(); ++s) {
    const std::string name = symbol_name(ids[s], symbols);
    names.push_back(name);
    append_path(figure.body, "<text class=\"symbol middle{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
                name.size() > 3 ? " small" : "", axes.left + width * (static_cast<double>(s) + 0.5),
                axes.top - 5, escape_markup(name));
  }
  std::vector<double> tokens(ids.size());  // of each symbol
  for (size_t s = 0; s < ids.size(); ++s)
    for (size_t e = 0; e < experts; ++e)
      tokens[s] += static_cast<double>(count(e, s)) / static_cast<double>(window.top_k);
  for (size_t e = 0; e < experts; ++e)
    for (size_t s = 0; s < ids.size(); ++s)
      painter.add(axes.left + width * static_cast<double>(s), axes.top + cell * static_cast<double>(e), width,
                  cell, tokens[s] > 0 ? static_cast<double>(count(e, s)) / tokens[s] : 0);
  figure.body += painter.svg() + frame(axes.left, axes.top, axes.width, axes.height) +
                 expert_labels(window.experts, axes.left, axes.top, cell);
  figure.data = {{"kind", "symbols"},
                 {"axes", axes.json()},
                 {"names", names},
                 {"top_k", window.top_k},
                 {"values", table_json(experts, ids.size(), count)}};
  return figure;
}

}  // namespace moe
