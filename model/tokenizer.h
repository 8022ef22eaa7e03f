#pragma once
// From text to token ids and back: characters, or byte-level byte-pair encoding.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.h"
#include "model/bpe.h"
#include "model/char_tokenizer.h"

namespace moe {

enum class TokenizerKind { character, bpe };

class Tokenizer {
 public:
  Tokenizer() = default;  // of characters, knows none
  Tokenizer(CharTokenizer characters) : is_(std::move(characters)) {}
  Tokenizer(BpeTokenizer bpe) : is_(std::move(bpe)) {}
  // Made from a valid text. vocab_size is the most tokens that byte-pair encoding learns, and is not asked
  // for characters. Throws ErrorKind::usage for a vocab_size that BpeTokenizer::train does not take.
  static Tokenizer from_text(std::string_view text, TokenizerKind kind = TokenizerKind::character,
                             int64_t vocab_size = 0);

  TokenizerKind kind() const { return static_cast<TokenizerKind>(is_.index()); }
  int64_t size() const;
  // What its tokens are, for messages: "characters" or "tokens".
  const char* units() const { return kind() == TokenizerKind::character ? "characters" : "tokens"; }

  // Throws ErrorKind::data, naming `what`, for text that is not valid UTF-8, and for characters that a
  // tokenizer of characters does not know, which it lists.
  std::vector<int32_t> encode(std::string_view text, const std::string& what) const;
  // The bytes that the tokens stand for. A text comes back exactly from all its ids. Single tokens of
  // byte-pair encoding may end within a character: give their bytes to a Utf8Stream (model/text.h) before
  // they are printed. Ids must be in [0, size()).
  std::string decode(int32_t id) const;
  std::string decode(std::span<const int32_t> ids) const;
  // The token of exactly these bytes.
  std::optional<int32_t> find(std::string_view bytes) const;

  // tokenizer.json as the Hugging Face tokenizers library reads it. from_json takes what to_json makes,
  // whatever blanks stand in it; other text is an error of kind `kind` that names `origin`.
  std::string to_json() const;
  static Tokenizer from_json(const std::string& text, const std::string& origin, ErrorKind kind);

  bool operator==(const Tokenizer&) const = default;

 private:
  std::variant<CharTokenizer, BpeTokenizer> is_;  // in the order of TokenizerKind
};

}  // namespace moe
