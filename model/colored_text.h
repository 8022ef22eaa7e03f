#pragma once
// Text on a terminal, each token on the colour of an expert.

#include <cstdint>
#include <string>
#include <string_view>

#include "model/text.h"

namespace moe {

// Puts escape sequences around the text of tokens, as it comes; without these it is what a Utf8Stream makes
// of the same tokens, byte for byte. Line breaks stay outside of the colours, and a character that several
// tokens make up together is not cut: it comes, in the colour of its last token, once it is complete.
class ExpertColors {
 public:
  // What can be written after this token: black text on expert_color(expert).
  std::string paint(std::string_view token, int64_t expert);
  // What is still kept back, when the text ends.
  std::string finish();

 private:
  Utf8Stream stream_;
};

}  // namespace moe
