#pragma once
// Text on a terminal, each token on the colour of an expert.

#include <cstdint>
#include <string>
#include <string_view>

namespace moe {

// Puts escape sequences around the text of tokens, as it comes; without these the text is unchanged, byte for
// byte. Line breaks stay outside of the colours, and a character that several tokens make up together is not
// cut: it comes, in the colour of its last token, once it is complete.
class ExpertColors {
 public:
  // What can be written after this token: black text on expert_color(expert).
  std::string paint(std::string_view token, int64_t expert);
  // Bytes that are still kept back, when the text ends.
  std::string finish();

 private:
  std::string pending_;  // the beginning of a character
};

// Where a character that is cut short at the end of `text` begins; text.size() when none is.
size_t complete_length(std::string_view text);

}  // namespace moe
