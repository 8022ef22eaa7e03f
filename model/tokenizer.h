#pragma once
// One token per character: the ids are the places of the text's characters in ascending order.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace moe {

class CharTokenizer {
 public:
  CharTokenizer() = default;  // knows no character
  // Of the characters that occur in a valid text.
  static CharTokenizer from_text(std::string_view text);
  // Of characters in strictly ascending order.
  explicit CharTokenizer(std::u32string characters);

  int64_t size() const { return static_cast<int64_t>(characters_.size()); }
  const std::u32string& characters() const { return characters_; }  // by id

  // Throws ErrorKind::data, naming `what`, for text that is not valid UTF-8, and for characters that are not
  // known, which it lists.
  std::vector<int32_t> encode(std::string_view text, const std::string& what) const;
  // The character's UTF-8, for output as it comes. Ids must be in [0, size()).
  std::string decode(int32_t id) const;
  std::string decode(std::span<const int32_t> ids) const;

  // tokenizer.json as the Hugging Face tokenizers library reads it: a word-level model whose words are single
  // characters. from_json takes that form only; other text is an error of kind `kind` that names `origin`.
  std::string to_json() const;
  static CharTokenizer from_json(const std::string& text, const std::string& origin, ErrorKind kind);

  bool operator==(const CharTokenizer&) const = default;

 private:
  std::u32string characters_;
  std::vector<int32_t> id_;  // by character, up to the largest that is known; -1: unknown
};

}  // namespace moe
