#pragma once
// JSON from outside, read strictly, and JSON for others.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"

namespace moe {

// Throws an error of the given kind that names `origin` for what is no JSON, for a key that appears twice in
// an object, and for more than 16 levels of nesting.
nlohmann::json parse_json(std::string_view text, const std::string& origin, ErrorKind kind);

// On one line. Bytes that are no UTF-8 are replaced by U+FFFD.
std::string json_text(const nlohmann::json&);

// JSON has no number for them: NaN and the infinities are the texts "NaN", "Infinity" and "-Infinity", as in
// protobuf's JSON. Reading throws nlohmann::json::exception for what is neither such a text nor a number.
nlohmann::json number_to_json(double);
double number_from_json(const nlohmann::json&);

}  // namespace moe
