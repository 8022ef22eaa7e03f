#include "model/char_tokenizer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.h"
#include "model/text.h"

namespace moe {
namespace {

constexpr size_t kCharacters = 0x110000;  // of Unicode

Error unknown_characters(const std::set<char32_t>& unknown, const std::string& what) {
  constexpr size_t kShown = 10;
  std::string list;
  size_t shown = 0;
  for (const char32_t c : unknown) {
    if (shown++ == kShown) break;
    list += (list.empty() ? "" : ", ") + describe(c);
  }
  if (unknown.size() > kShown) list += fmt::format(" and {} more", unknown.size() - kShown);
  return error(ErrorKind::data, "{} has characters that the model does not know: {}", what, list);
}

}  // namespace

CharTokenizer CharTokenizer::from_text(std::string_view text) {
  std::vector<bool> occurs(kCharacters);
  std::u32string characters;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    require(c != kNoCharacter, "tokenizer: the text is not valid UTF-8");
    if (occurs[c]) continue;
    occurs[c] = true;
    characters += c;
  }
  std::ranges::sort(characters);
  return CharTokenizer(std::move(characters));
}

CharTokenizer::CharTokenizer() : CharTokenizer(std::u32string()) {}

CharTokenizer::CharTokenizer(std::u32string characters) : characters_(std::move(characters)) {
  const bool ascending =
      std::adjacent_find(characters_.begin(), characters_.end(), std::greater_equal<>()) == characters_.end();
  require(ascending && (characters_.empty() || characters_.back() < kCharacters),
          "tokenizer: the characters are not in ascending order");
  ascii_ids_.fill(-1);
  for (size_t i = 0; i < characters_.size() && characters_[i] < ascii_ids_.size(); ++i)
    ascii_ids_[characters_[i]] = static_cast<int32_t>(i);
}

int32_t CharTokenizer::id_of(char32_t c) const {
  if (c < ascii_ids_.size()) return ascii_ids_[c];
  const auto at = std::ranges::lower_bound(characters_, c);
  return at != characters_.end() && *at == c ? static_cast<int32_t>(at - characters_.begin()) : -1;
}

std::vector<int32_t> CharTokenizer::encode(std::string_view text, const std::string& what) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  std::set<char32_t> unknown;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (c == kNoCharacter) check_text(text, what);
    const int32_t id = id_of(c);
    if (id < 0) unknown.insert(c);
    ids.push_back(id);
  }
  if (!unknown.empty()) throw unknown_characters(unknown, what);
  return ids;
}

std::string CharTokenizer::decode(int32_t id) const {
  require(id >= 0 && id < size(), "tokenizer: id {} is not in [0, {})", id, size());
  std::string text;
  append_utf8(text, characters_[static_cast<size_t>(id)]);
  return text;
}

}  // namespace moe
