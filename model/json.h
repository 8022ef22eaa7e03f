#pragma once
// JSON from outside, read strictly.

#include <functional>
#include <nlohmann/json.hpp>
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
// itself: a string or blank of more than 64 KiB, or more values than kMaxJsonValues besides those of the
// streams.
inline constexpr size_t kMaxJsonValues = 2000;
nlohmann::json parse_json(std::string_view text, const std::string& origin, ErrorKind kind,
                          std::span<const JsonStream> streams = {});

}  // namespace moe
