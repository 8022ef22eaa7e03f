#include "model/colored_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "model/palette.h"

namespace moe {

size_t complete_length(std::string_view text) {
  // A lead byte tells how many bytes its character has; only the last three can be waited for.
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

std::string ExpertColors::paint(std::string_view token, int64_t expert) {
  pending_ += token;
  const size_t ready = complete_length(pending_);
  std::string text = pending_.substr(0, ready), out;
  pending_.erase(0, ready);
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (end > 0)
      fmt::format_to(std::back_inserter(out), "\x1b[30;48;5;{}m{}\x1b[0m",
                     terminal_color(expert_color(expert)), rest.substr(0, end));
    if (end < rest.size()) out += '\n';
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

std::string ExpertColors::finish() {
  return std::exchange(pending_, {});
}

}  // namespace moe
