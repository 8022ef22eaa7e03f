#include "core/json_run.h"

#include <algorithm>

namespace moe {

size_t longest_json_run(std::string_view json) {
  constexpr std::string_view kMarks = ",:[]{}";
  size_t longest = 0, begin = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    if (quoted && json[i] == '\\') {
      ++i;
    } else if (json[i] == '"' || (!quoted && kMarks.find(json[i]) != kMarks.npos)) {
      if (json[i] == '"') quoted = !quoted;
      longest = std::max(longest, i - begin);
      begin = i + 1;
    }
  }
  return std::max(longest, json.size() - std::min(begin, json.size()));
}

}  // namespace moe
