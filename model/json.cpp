#include "model/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "core/json_run.h"
#include "core/quote.h"

namespace moe {
namespace {

using nlohmann::json;
using Event = json::parse_event_t;

constexpr int kDeepest = 16;
constexpr size_t kMaxRun = 1 << 16;

// Sees the text go by, event by event, and says what is to be kept.
class Gate {
 public:
  Gate(const std::string& origin, ErrorKind kind, std::span<const JsonStream> streams, size_t most_values)
      : origin_(origin),
        kind_(kind),
        streams_(streams),
        matched_(streams.size()),
        most_values_(most_values) {}

  // Objects and arrays have the depth of their parent plus one, as their members have theirs; the root has 0.
  bool operator()(int depth, Event event, json& value) {
    if (depth > kDeepest) throw error(kind_, "{}: nested deeper than {} levels", origin_, kDeepest);
    switch (event) {
      case Event::key:
        return on_key(depth, value.get_ref<const std::string&>());
      case Event::object_start:
        count_value();
        if (stream_) return hand_over_list(depth, json::object());
        keys_.emplace_back();
        stream_ = stream_at(depth);
        in_object_ = true;
        return true;
      case Event::array_start:
        count_value();
        if (stream_) return hand_over_list(depth, json::array());
        stream_ = stream_at(depth);
        in_object_ = false;
        return true;
      case Event::object_end:
      case Event::array_end:
        if (event == Event::object_end) keys_.pop_back();
        stream_ = nullptr;
        return true;
      case Event::value:
        if (stream_) return hand_over(value);
        count_value();
        return true;
    }
    return true;
  }

 private:
  void count_value() {
    if (!stream_ && ++values_ > most_values_)
      throw error(kind_, "{}: more than {} values", origin_, most_values_);
  }

  bool on_key(int depth, const std::string& key) {
    if (stream_) {
      if (is_member(depth)) key_ = key;
      return false;
    }
    if (!keys_.back().insert(key).second)
      throw error(kind_, "{}: the key {} appears twice", origin_, in_quotes(key));
    const auto level = static_cast<size_t>(depth - 1);
    for (size_t i = 0; i < streams_.size(); ++i) {
      const auto& place = streams_[i].place;
      matched_[i] = std::min(matched_[i], level);
      if (matched_[i] == level && level < place.size() && place[level] == key) ++matched_[i];
    }
    return true;
  }

  // The stream whose object or array begins.
  const JsonStream* stream_at(int depth) {
    for (size_t i = 0; i < streams_.size(); ++i)
      if (matched_[i] == streams_[i].place.size() && static_cast<size_t>(depth) == matched_[i])
        return &streams_[i];
    return nullptr;
  }

  bool is_member(int depth) const { return static_cast<size_t>(depth) == stream_->place.size() + 1; }

  // What is inside goes by unseen.
  bool hand_over_list(int depth, const json& empty) {
    if (is_member(depth)) hand_over(empty);
    return false;
  }

  // The library drops what it is told to. Of an object's member it was told so at the key, and forgets about
  // that key when the value is wanted.
  bool hand_over(const json& value) {
    stream_->take(std::exchange(key_, ""), value);
    return in_object_;
  }

  const std::string& origin_;
  ErrorKind kind_;
  std::span<const JsonStream> streams_;
  std::vector<size_t> matched_;              // by stream: how many keys of its place lead here
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  const JsonStream* stream_ = nullptr;       // whose members go by
  bool in_object_ = false;                   // whether they have keys
  std::string key_;
  size_t values_ = 0, most_values_;
};

}  // namespace

json parse_json(std::string_view text, const std::string& origin, ErrorKind kind,
                std::span<const JsonStream> streams, size_t most_values) {
  const auto not_json = [&](size_t byte) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(byte), '\n');
    return error(kind, "{}: no valid JSON in line {}", origin, line);
  };
  // The library would take a NUL for the end.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) throw not_json(nul);
  if (longest_json_run(text) > kMaxRun)
    throw error(kind, "{}: a string or blank of more than {} bytes", origin, kMaxRun);

  Gate gate(origin, kind, streams, most_values);
  try {
    return json::parse(text, std::ref(gate));
  } catch (const json::parse_error& e) {
    throw not_json(std::min(e.byte, text.size()));
  } catch (const json::exception&) {  // a number beyond all bounds
    throw error(kind, "{}: a number is out of range", origin);
  }
}

std::optional<int64_t> integer_in(const json& j) {
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!j.is_number_integer() || (j.is_number_unsigned() && j.get<uint64_t>() > kLargest)) return std::nullopt;
  return j.get<int64_t>();
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
  const std::optional<int64_t> integer = integer_in(j);
  if (!integer) throw wrong(key, "an integer of 64 bits");
  value = *integer;
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
