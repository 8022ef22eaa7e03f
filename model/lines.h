#pragma once
// The lines of a text.

#include <algorithm>
#include <string_view>

namespace moe {

// Calls use(line) for every line that is not empty, without its line break; the last one needs none.
template <class Use>
void for_each_line(std::string_view text, Use&& use) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace moe
