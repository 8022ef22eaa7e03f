#include "model/tokenizer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/quote.h"
#include "model/json.h"
#include "model/text.h"

namespace moe {
namespace {

using nlohmann::json;

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

// All of tokenizer.json but the vocabulary. unk_token must be named, but is no word: unknown characters are
// errors there as well.
json tokenizer_frame() {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Split"},
            {"pattern", {{"Regex", "[\\s\\S]"}}},
            {"behavior", "Isolated"},
            {"invert", false}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Fuse"}}},
          {"model", {{"type", "WordLevel"}, {"vocab", json::object()}, {"unk_token", "<unk>"}}}};
}

}  // namespace

CharTokenizer CharTokenizer::from_text(std::string_view text) {
  std::vector<bool> occurs(kCharacters);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    require(c != kNoCharacter, "tokenizer: the text is not valid UTF-8");
    occurs[c] = true;
  }
  std::u32string characters;
  for (char32_t c = 0; c < kCharacters; ++c)
    if (occurs[c]) characters += c;
  return CharTokenizer(std::move(characters));
}

CharTokenizer::CharTokenizer(std::u32string characters) : characters_(std::move(characters)) {
  const bool ascending =
      std::adjacent_find(characters_.begin(), characters_.end(), std::greater_equal<>()) == characters_.end();
  require(ascending && (characters_.empty() || characters_.back() < kCharacters),
          "tokenizer: the characters are not in ascending order");
  if (!characters_.empty()) id_.assign(characters_.back() + 1, -1);
  for (size_t i = 0; i < characters_.size(); ++i) id_[characters_[i]] = static_cast<int32_t>(i);
}

std::vector<int32_t> CharTokenizer::encode(std::string_view text, const std::string& what) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  std::set<char32_t> unknown;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (c == kNoCharacter) check_text(text, what);
    const int32_t id = c < id_.size() ? id_[c] : -1;
    if (id < 0) unknown.insert(c);
    ids.push_back(id);
  }
  if (!unknown.empty()) throw unknown_characters(unknown, what);
  return ids;
}

std::string CharTokenizer::decode(int32_t id) const {
  return decode(std::span(&id, 1));
}

std::string CharTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    require(id >= 0 && id < size(), "tokenizer: id {} is not in [0, {})", id, size());
    append_utf8(text, characters_[static_cast<size_t>(id)]);
  }
  return text;
}

std::string CharTokenizer::to_json() const {
  json root = tokenizer_frame();
  json& vocab = root["model"]["vocab"];
  for (int32_t id = 0; id < size(); ++id) vocab[decode(id)] = id;
  return root.dump(2) + "\n";
}

CharTokenizer CharTokenizer::from_json(const std::string& text, const std::string& origin, ErrorKind kind) {
  json root = parse_json(text, origin, kind);
  const json::json_pointer place("/model/vocab");
  if (!root.contains(place) || !root[place].is_object())
    throw error(kind, "{}: it has no vocabulary under \"model\", \"vocab\"", origin);
  const json vocab = std::exchange(root[place], json::object());
  if (root != tokenizer_frame())
    throw error(kind, "{}: it is not the tokenizer of single characters that this program writes", origin);

  // The JSON library keeps keys in the order of their bytes, which for UTF-8 is the order of the characters.
  std::u32string characters;
  for (const auto& [word, id] : vocab.items()) {
    size_t at = 0;
    const char32_t c = word.empty() ? kNoCharacter : next_character(word, at);
    if (c == kNoCharacter || at != word.size())
      throw error(kind, "{}: the word {} is not a single character", origin, in_quotes(word));
    if (!id.is_number_integer() || id != characters.size())
      throw error(kind, "{}: {} must have the id {}", origin, describe(c), characters.size());
    characters += c;
  }
  return CharTokenizer(std::move(characters));
}

}  // namespace moe
