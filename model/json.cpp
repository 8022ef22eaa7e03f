#include "model/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
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

ObjectReader::ObjectReader(const json& object, std::string name, std::string origin, ErrorKind kind)
    : object_(object), name_(std::move(name)), origin_(std::move(origin)), kind_(kind) {
  if (!object.is_object()) throw error(kind, "{}: {} must be an object", origin_, name_);
}

const json* ObjectReader::find(const char* key) {
  known_.insert(key);
  const auto it = object_.find(key);
  return it == object_.end() ? nullptr : &*it;
}

const json& ObjectReader::at(const char* key) {
  if (const json* j = find(key)) return *j;
  throw error(kind_, "{}: {} lacks the key \"{}\"", origin_, name_, key);
}

void ObjectReader::read_or_null(const char* key, double& value, double null) {
  const json& j = at(key);
  if (j.is_null())
    value = null;
  else
    convert(key, j, value);
}

void ObjectReader::expect_format(const std::string& format, int64_t version) {
  std::string found;
  int64_t found_version = 0;
  read("format", found);
  read("version", found_version);
  if (found != format || found_version != version)
    throw error(kind_, "{}: format {}, version {} is not \"{}\", version {}", origin_, in_quotes(found),
                found_version, format, version);
}

void ObjectReader::refuse_unknown_keys() const {
  for (const auto& [key, value] : object_.items())
    if (!known_.contains(key))
      throw error(kind_, "{}: {} has the unknown key {}", origin_, name_, in_quotes(key));
}

Error ObjectReader::wrong(const char* key, const std::string& wanted) const {
  return error(kind_, "{}: \"{}\" in {} must be {}", origin_, key, name_, wanted);
}

void ObjectReader::convert(const char* key, const json& j, int64_t& value) const {
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!j.is_number_integer() || (j.is_number_unsigned() && j.get<uint64_t>() > kLargest))
    throw wrong(key, "an integer of 64 bits");
  value = j.get<int64_t>();
}

void ObjectReader::convert(const char* key, const json& j, double& value) const {
  if (!j.is_number()) throw wrong(key, "a number");
  value = j.get<double>();
}

void ObjectReader::convert(const char* key, const json& j, bool& value) const {
  if (!j.is_boolean()) throw wrong(key, "true or false");
  value = j.get<bool>();
}

void ObjectReader::convert(const char* key, const json& j, std::string& value) const {
  if (!j.is_string()) throw wrong(key, "a string");
  value = j.get<std::string>();
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
