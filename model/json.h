#pragma once
// JSON from outside, read strictly.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"

namespace moe {

// Throws an error of the given kind that names `origin` for what is no JSON, for a key that appears twice in
// an object, and for more than 16 levels of nesting.
nlohmann::json parse_json(std::string_view text, const std::string& origin, ErrorKind kind);

}  // namespace moe
