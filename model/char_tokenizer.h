#pragma once
// One token per character: the ids are the places of the text's characters in ascending order.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

class CharTokenizer {
 public:
  CharTokenizer();  // knows no character
  // Of the characters that occur in a valid text.
  static CharTokenizer from_text(std::string_view text);
  // Of characters in strictly ascending order.
  explicit CharTokenizer(std::u32string characters);

  int64_t size() const { return static_cast<int64_t>(characters_.size()); }
  const std::u32string& characters() const { return characters_; }  // by id
  // The id of a character, or -1 when it is not known.
  int32_t id_of(char32_t character) const;

  // Throws ErrorKind::data, naming `what`, for text that is not valid UTF-8, and for characters that are not
  // known, which it lists.
  std::vector<int32_t> encode(std::string_view text, const std::string& what) const;
  // The character's UTF-8. Ids must be in [0, size()).
  std::string decode(int32_t id) const;

  bool operator==(const CharTokenizer& other) const { return characters_ == other.characters_; }

 private:
  std::u32string characters_;
  std::array<int32_t, 128> ascii_ids_;  // -1: unknown
};

}  // namespace moe
