#pragma once

#include <cstddef>
#include <string_view>

namespace moe {

// The length of the longest run of bytes between two marks of a JSON text: what its library copies while it
// reads a string, a number or a blank.
size_t longest_json_run(std::string_view json);

}  // namespace moe
