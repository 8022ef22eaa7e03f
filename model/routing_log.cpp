#include "model/routing_log.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/file.h"
#include "model/lines.h"

namespace moe {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kWrittenSymbols = 256;
constexpr int64_t kMostExperts = 1 << 16, kMostLayers = 1 << 16;
constexpr int64_t kMostRoutingBytes = int64_t{4} << 30;
constexpr double kMostCounted = 2e10;  // in a window; sums over the largest file fit 64 bits

double rounded(double x) {
  if (x == 0 || !std::isfinite(x)) return 0;
  const double unit = std::pow(10.0, std::floor(std::log10(std::abs(x))) - 6);
  return std::round(x / unit) * unit;
}

ordered_json symbols_json(const LayerWindow& layer) {
  std::vector<std::pair<int64_t, int32_t>> by_count;
  for (const auto& [symbol, counts] : layer.symbols)
    if (symbol != kOtherSymbols) by_count.emplace_back(-total(counts), symbol);
  std::ranges::sort(by_count);
  std::vector<int64_t> others(layer.load.size());
  if (const auto it = layer.symbols.find(kOtherSymbols); it != layer.symbols.end()) others = it->second;
  ordered_json rows = ordered_json::array();
  for (size_t i = 0; i < by_count.size(); ++i) {
    const std::vector<int64_t>& counts = layer.symbols.at(by_count[i].second);
    if (i < kWrittenSymbols) {
      ordered_json row = {by_count[i].second};
      for (const int64_t n : counts) row.push_back(n);
      rows.push_back(std::move(row));
    } else {
      for (size_t e = 0; e < others.size(); ++e) others[e] += counts[e];
    }
  }
  if (total(others) > 0) {
    ordered_json row = {kOtherSymbols};
    for (const int64_t n : others) row.push_back(n);
    rows.push_back(std::move(row));
  }
  return rows;
}

// Reads the fields of an object; once something does not fit, `ok` is false.
struct RowReader {
  bool ok = true;

  const json& at(const json& object, const char* key) {
    static const json kNothing;
    if (object.is_object())
      if (const auto it = object.find(key); it != object.end()) return *it;
    ok = false;
    return kNothing;
  }
  int64_t count(const json& value, int64_t least = 0) {
    const double x = value.is_number() ? value.get<double>() : -2;
    if (x >= static_cast<double>(least) && x <= kMostCounted && x == std::floor(x))
      return static_cast<int64_t>(x);
    ok = false;
    return 0;
  }
  double number(const json& value) {
    const double x = value.is_number() ? value.get<double>() : -1;
    if (x >= 0 && x <= kMostCounted) return x;
    ok = false;
    return 0;
  }
  std::vector<int64_t> counts(const json& list, size_t size) {
    std::vector<int64_t> values;
    if (!list.is_array() || list.size() != size) ok = false;
    for (size_t i = 0; ok && i < size; ++i) values.push_back(count(list[i]));
    return values;
  }
  LayerWindow layer(const json& object, int64_t experts) {
    const auto size = static_cast<size_t>(experts);
    LayerWindow l;
    l.load = counts(at(object, "load"), size);
    l.kept = ok && object.contains("kept") ? counts(object["kept"], size) : l.load;
    for (size_t e = 0; ok && e < size; ++e) ok = l.kept[e] <= l.load[e];
    const json& importance = at(object, "importance");
    if (!importance.is_array() || importance.size() != size) ok = false;
    for (size_t e = 0; ok && e < size; ++e) l.importance.push_back(number(importance[e]));
    l.entropy_tokens = count(at(object, "sampled"));
    l.entropy_sum = number(at(object, "entropy")) * static_cast<double>(l.entropy_tokens);
    const size_t pairs = size * (size - 1) / 2;
    if (ok && object.contains("together")) l.together = counts(object["together"], pairs);
    const json& symbols = at(object, "symbols");
    if (!symbols.is_array()) ok = false;
    for (size_t i = 0; ok && i < symbols.size(); ++i) {
      const json& row = symbols[i];
      if (!row.is_array() || row.size() != size + 1) ok = false;
      std::vector<int64_t> values;
      for (size_t e = 0; ok && e < size; ++e) values.push_back(count(row[e + 1]));
      const int64_t id = ok ? count(row[0], kOtherSymbols) : 0;
      if (id > std::numeric_limits<int32_t>::max()) ok = false;
      if (ok) l.symbols[static_cast<int32_t>(id)] = std::move(values);
    }
    return l;
  }
};

std::string file_contents(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? read_file(path, ErrorKind::data, kMostRoutingBytes) : "";
}

}  // namespace

std::string to_json(const RoutingWindow& window) {
  ordered_json row = {{"first", window.first},
                      {"end", window.end},
                      {"tokens", window.tokens},
                      {"experts", window.experts},
                      {"top_k", window.top_k}};
  ordered_json layers = ordered_json::array();
  for (const LayerWindow& l : window.layers) {
    ordered_json layer = {{"load", l.load}};
    if (l.kept != l.load) layer["kept"] = l.kept;
    ordered_json importance = ordered_json::array();
    for (const double x : l.importance) importance.push_back(rounded(x));
    layer["importance"] = std::move(importance);
    layer["entropy"] = rounded(l.entropy());
    layer["sampled"] = l.entropy_tokens;
    if (total(l.together) > 0) layer["together"] = l.together;
    layer["symbols"] = symbols_json(l);
    layers.push_back(std::move(layer));
  }
  row["layers"] = std::move(layers);
  return row.dump();
}

bool from_json(std::string_view line, RoutingWindow& window) {
  const json row = json::parse(line, nullptr, false);
  if (!row.is_object()) return false;
  RowReader reader;
  RoutingWindow w;
  w.first = reader.count(reader.at(row, "first"));
  w.end = reader.count(reader.at(row, "end"), w.first + 1);
  w.tokens = reader.count(reader.at(row, "tokens"), 1);
  w.experts = reader.count(reader.at(row, "experts"), 1);
  w.top_k = reader.count(reader.at(row, "top_k"), 1);
  const json& layers = reader.at(row, "layers");
  if (!layers.is_array() || layers.empty() || layers.size() > kMostLayers || w.experts > kMostExperts ||
      w.top_k > w.experts)
    return false;
  if (!reader.ok) return false;
  for (const json& layer : layers) {
    w.layers.push_back(reader.layer(layer, w.experts));
    if (!reader.ok || total(w.layers.back().load) != w.top_k * w.tokens) return false;
  }
  window = std::move(w);
  return true;
}

// From the last line to the first: which windows are recent, fit, or were replaced is known then, and one
// window at a time is whole in memory.
RoutingHistory read_routing(const std::filesystem::path& file) {
  const std::string text = file_contents(file);
  RoutingHistory history;
  std::vector<RoutingWindow>& windows = history.windows;
  int64_t replaced_from = std::numeric_limits<int64_t>::max(), recent_from = 0;
  std::vector<std::string_view> lines;
  for_each_line(text, [&](std::string_view line) { lines.push_back(line); });
  std::ranges::reverse(lines);
  for (const std::string_view line : lines) {
    RoutingWindow window;
    if (!from_json(line, window)) {
      ++history.skipped;
      continue;
    }
    const bool replaced = window.end > replaced_from;
    replaced_from = std::min(replaced_from, window.first);
    if (replaced) continue;
    if (!windows.empty() && !window.fits(windows.front())) {
      ++history.skipped;
      continue;
    }
    if (windows.empty()) {
      recent_from = window.end - window.end / 4;
      history.recent = window;
    } else if (window.first >= recent_from) {
      history.recent->add(window);
    }
    for (LayerWindow& l : window.layers) {
      l.together = {};
      l.symbols = {};
    }
    windows.push_back(std::move(window));
  }
  std::ranges::reverse(windows);
  return history;
}

std::vector<RoutingWindow> coarsen(std::vector<RoutingWindow> windows, size_t most) {
  if (windows.size() <= most || most == 0) return windows;
  const size_t group = (windows.size() + most - 1) / most;
  std::vector<RoutingWindow> coarse;
  for (size_t i = 0; i < windows.size(); ++i) {
    if (i % group == 0)
      coarse.push_back(std::move(windows[i]));
    else
      coarse.back().add(windows[i]);
  }
  return coarse;
}

namespace {

// The file, which keeps only the rows of steps before this one.
const std::filesystem::path& with_rows_before(int64_t step, const std::filesystem::path& file) {
  std::string kept;
  const std::string text = file_contents(file);
  for_each_line(text, [&](std::string_view line) {
    RoutingWindow window;
    if (from_json(line, window) && window.end <= step) kept.append(line) += '\n';
  });
  write_file(file, kept);
  return file;
}

}  // namespace

RoutingLog::RoutingLog(const std::filesystem::path& file, int64_t step)
    : file_(with_rows_before(step, file), LogFile::Existing::keep) {}

void RoutingLog::append(const RoutingWindow& window) {
  file_.append(as_bytes(to_json(window) + '\n'));
}

}  // namespace moe
