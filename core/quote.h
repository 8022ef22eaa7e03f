#pragma once
// Foreign text inside error messages.

#include <string>
#include <string_view>

namespace moe {

// The text in double quotes on one line: what is not printable ASCII as \xHH, and cut when it is long.
std::string in_quotes(std::string_view text);

}  // namespace moe
