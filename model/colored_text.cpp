#include "model/colored_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "model/palette.h"

namespace moe {

std::string ExpertColors::paint(std::string_view token, int64_t expert) {
  const std::string text = stream_.push(token);
  std::string out;
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
  return stream_.finish();
}

}  // namespace moe
