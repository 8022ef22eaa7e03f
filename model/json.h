#pragma once
// JSON from outside, read strictly, and JSON for others.

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace moe {

// A long object or array inside a JSON text, whose members are handed over one by one and are not kept: what
// comes back has it empty. `take` sees their keys ("" in an array) as they come, be it twice the same, and an
// empty object or array for a member that is one.
struct JsonStream {
  std::vector<std::string> place;  // the keys that lead to it
  std::function<void(const std::string& key, const nlohmann::json& value)> take;
};

// Throws an error of the given kind that names `origin` for what is no JSON, for a key that appears twice in
// an object, for more than 16 levels of nesting, and for what would take much more memory than the text
// itself: a string or blank of more than 64 KiB, or more than most_values values besides those of the
// streams.
inline constexpr size_t kMaxJsonValues = 2000;
nlohmann::json parse_json(std::string_view text, const std::string& origin, ErrorKind kind,
                          std::span<const JsonStream> streams = {}, size_t most_values = kMaxJsonValues);

// One object of a file, each of whose keys must be asked for. All members but find throw an error of the
// given kind that names `origin`, the object and the key.
class ObjectReader {
 public:
  ObjectReader(const nlohmann::json& object, std::string name, std::string origin, ErrorKind kind);

  // nullptr when it is not there.
  const nlohmann::json* find(const char* key);
  const nlohmann::json& at(const char* key);

  // A value of type int64_t, double, bool or std::string.
  template <class T>
  void read(const char* key, T& value) {
    convert(key, at(key), value);
  }
  // A number; null stands for `null`.
  void read_or_null(const char* key, double& value, double null);
  // The keys "format" and "version" must be these.
  void expect_format(const std::string& format, int64_t version);
  void refuse_unknown_keys() const;

  void convert(const char* key, const nlohmann::json&, int64_t& value) const;
  void convert(const char* key, const nlohmann::json&, double& value) const;
  void convert(const char* key, const nlohmann::json&, bool& value) const;
  void convert(const char* key, const nlohmann::json&, std::string& value) const;
  // "\"key\" in object must be ..."
  Error wrong(const char* key, const std::string& wanted) const;

 private:
  const nlohmann::json& object_;
  std::string name_, origin_;
  ErrorKind kind_;
  std::set<std::string> known_;
};

// On one line. Bytes that are no UTF-8 are replaced by U+FFFD.
std::string json_text(const nlohmann::json&);

// The value of an integer of 64 bits; nothing for anything else.
std::optional<int64_t> integer_in(const nlohmann::json&);

// JSON has no number for them: NaN and the infinities are the texts "NaN", "Infinity" and "-Infinity", as in
// protobuf's JSON. Reading throws nlohmann::json::exception for what is neither such a text nor a number.
nlohmann::json number_to_json(double);
double number_from_json(const nlohmann::json&);

}  // namespace moe
