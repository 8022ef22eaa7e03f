#pragma once
// Numbers for people.

#include <cstdint>
#include <string>

namespace moe {

// "8,996,545"
std::string count_text(double count);
// "1.234", "0.001", "12,346", "1.2e-05": four digits at most, or more before the point.
std::string number_text(double value);

}  // namespace moe
