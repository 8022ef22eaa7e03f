#include "core/quote.h"

#include <fmt/format.h>

#include <iterator>

namespace moe {

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string out = "\"";
  for (const char c : text.substr(0, kLongest)) {
    if (c == '"' || c == '\\') out += '\\';
    if (c >= ' ' && c <= '~')
      out += c;
    else
      fmt::format_to(std::back_inserter(out), "\\x{:02X}", static_cast<unsigned char>(c));
  }
  return out + (text.size() > kLongest ? "...\"" : "\"");
}

}  // namespace moe
