#pragma once
// Numbers for people.

#include <cstdint>
#include <string>

namespace moe {

// "8,996,545"
std::string count_text(double count);
// "1.234", "0.001000", "12,345", "1.2e-05": about four digits.
std::string number_text(double value);

}  // namespace moe
