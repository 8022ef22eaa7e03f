#include "model/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "core/quote.h"

namespace moe {

using nlohmann::json;

json parse_json(std::string_view text, const std::string& origin, ErrorKind kind) {
  constexpr int kDeepest = 16;
  const auto not_json = [&](size_t byte) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(byte), '\n');
    return error(kind, "{}: no valid JSON in line {}", origin, line);
  };
  // The library would take a NUL for the end.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) throw not_json(nul);

  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepest) throw error(kind, "{}: nested deeper than {} levels", origin, kDeepest);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      throw error(kind, "{}: the key {} appears twice", origin, in_quotes(value.get<std::string>()));
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::parse_error& e) {
    throw not_json(std::min(e.byte, text.size()));
  } catch (const json::exception&) {  // a number beyond all bounds
    throw error(kind, "{}: a number is out of range", origin);
  }
}

std::string json_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json number_to_json(double value) {
  if (std::isfinite(value)) return value;
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "Infinity" : "-Infinity";
}

double number_from_json(const json& value) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (value == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (value == "Infinity") return kInfinity;
  if (value == "-Infinity") return -kInfinity;
  return value.get<double>();
}

}  // namespace moe
