#include "model/number_text.h"

#include <fmt/format.h>

#include <cmath>

namespace moe {

std::string count_text(double count) {
  std::string digits = fmt::format("{:.0f}", std::abs(count));
  for (auto at = static_cast<ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return (count < 0 ? "-" : "") + digits;
}

std::string number_text(double value) {
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size >= 1e15 || size < 1e-4) return fmt::format("{:.1e}", value);
  if (size >= 9999.5) return count_text(value);  // what four digits would round to 1e+04
  return fmt::format("{:.4g}", value);
}

}  // namespace moe
