// tokenizer.json, both ways.

#include <optional>
#include <utility>

#include "core/quote.h"
#include "model/byte_alphabet.h"
#include "model/json.h"
#include "model/text.h"
#include "model/tokenizer.h"

namespace moe {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// All of the file but its tokens and merges, in the order in which the library writes it. For characters, a
// model of words that are single characters. unk_token must be named, but is no word: unknown characters are
// errors there as well.
ordered_json character_frame() {
  return {{"added_tokens", json::array()},
          {"decoder", {{"type", "Fuse"}}},
          {"model", {{"type", "WordLevel"}, {"unk_token", "<unk>"}, {"vocab", json::object()}}},
          {"normalizer", nullptr},
          {"padding", nullptr},
          {"post_processor", nullptr},
          {"pre_tokenizer",
           {{"behavior", "Isolated"},
            {"invert", false},
            {"pattern", {{"Regex", "[\\s\\S]"}}},
            {"type", "Split"}}},
          {"truncation", nullptr},
          {"version", "1.0"}};
}

ordered_json bpe_frame() {
  const ordered_json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", ordered_json::object()},
            {"merges", ordered_json::array()}}}};
}

// Replaces the empty list of that name, an object or an array by its brackets, by one with these lines.
void fill(std::string& frame, const std::string& name, std::string_view brackets,
          const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  std::string list{brackets.front()};
  for (const std::string& line : lines) list += (&line == &lines.front() ? "\n      " : ",\n      ") + line;
  list += "\n    ";
  list += brackets.back();
  const std::string empty = fmt::format("\"{}\": {}", name, brackets);
  frame.replace(frame.find(empty) + empty.size() - brackets.size(), brackets.size(), list);
}

std::string quoted(const std::string& text) {
  return json(text).dump();
}

std::string file_of(const CharTokenizer& t) {
  std::string file = character_frame().dump(2) + "\n";
  std::vector<std::string> words;
  words.reserve(static_cast<size_t>(t.size()));
  for (int32_t id = 0; id < t.size(); ++id) words.push_back(fmt::format("{}: {}", quoted(t.decode(id)), id));
  fill(file, "vocab", "{}", words);
  return file;
}

// Merges are written as "left right": the alphabet has no blank.
std::string file_of(const BpeTokenizer& t) {
  const auto word = [&](int32_t id) { return to_byte_alphabet(t.decode(id)); };
  std::string file = bpe_frame().dump(2) + "\n";
  std::vector<std::string> words, merges;
  words.reserve(static_cast<size_t>(t.size()));
  for (int32_t id = 0; id < t.size(); ++id) words.push_back(fmt::format("{}: {}", quoted(word(id)), id));
  for (const Merge m : t.merges()) merges.push_back(quoted(word(m.left) + " " + word(m.right)));
  fill(file, "vocab", "{}", words);
  fill(file, "merges", "[]", merges);
  return file;
}

// Reads a file twice, so that nothing grows while it is filled, and no more is kept than the tokenizer: first
// all but its words and merges, which are counted, then those.
class Reader {
 public:
  Reader(const std::string& text, const std::string& origin, ErrorKind kind)
      : text_(text), origin_(origin), kind_(kind) {}

  Tokenizer read() {
    const json frame = pass([&](const std::string& word, const json& id) { count_word(word, id); },
                            [&](const json&) { ++merges_; });
    if (frame == json(character_frame())) return characters();
    if (frame == json(bpe_frame())) return bpe();
    if (const json::json_pointer place("/model/vocab"); !frame.contains(place) || !frame[place].is_object())
      fail("it has no vocabulary under \"model\", \"vocab\"");
    fail("it is not a tokenizer that this program writes");
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw error(kind_, "{}: {}", origin_, fmt::format(format, std::forward<Args>(args)...));
  }

  // Returns what is neither a word nor a merge.
  template <class Word, class Merge>
  json pass(Word&& word, Merge&& merge) const {
    const JsonStream streams[] = {
        {{"model", "vocab"}, word},
        {{"model", "merges"}, [&](const std::string&, const json& m) { merge(m); }}};
    return parse_json(text_, origin_, kind_, streams);
  }

  void count_word(const std::string& word, const json& id) {
    if (!id.is_number_integer() || id != words_)
      fail("the word {} must have the id {}", in_quotes(word), words_);
    ++words_;
    bytes_ += word.size();
  }

  Tokenizer characters() const;
  Tokenizer bpe() const;
  void add_merge(BpeBuilder& builder, const json& merge, size_t rank) const;

  const std::string &text_, &origin_;
  ErrorKind kind_;
  size_t words_ = 0, bytes_ = 0, merges_ = 0;  // bytes: of all words
};

Tokenizer Reader::characters() const {
  std::u32string characters;
  characters.reserve(words_);
  const auto add = [&](const std::string& word, const json&) {
    size_t at = 0;
    const char32_t c = word.empty() ? kNoCharacter : next_character(word, at);
    if (c == kNoCharacter || at != word.size())
      fail("the word {} is not a single character", in_quotes(word));
    if (!characters.empty() && c <= characters.back())
      fail("{} does not come behind {}", describe(c), describe(characters.back()));
    characters += c;
  };
  pass(add, [](const json&) {});
  return CharTokenizer(std::move(characters));
}

Tokenizer Reader::bpe() const {
  StringList tokens;
  tokens.reserve(words_, bytes_);
  std::string bytes;
  const auto add_word = [&](const std::string& word, const json&) {
    if (!from_byte_alphabet(word, bytes))
      fail("the word {} has characters that stand for no byte", in_quotes(word));
    tokens.add(bytes);
  };
  std::optional<BpeBuilder> builder;
  const auto finish_words = [&] {
    if (tokens.size() != words_) fail("its merges must come behind its words");
    builder.emplace(std::move(tokens));
    if (!builder->has_bytes())
      fail("its first {} words must be the single bytes, and all others of 2 to {} bytes",
           BpeTokenizer::kBytes, BpeTokenizer::kLongestToken);
    if (const auto twins = builder->twins()) fail("words {} and {} are the same", twins->left, twins->right);
    builder->reserve(merges_);
  };
  size_t rank = 0;
  pass(add_word, [&](const json& merge) {
    if (!builder) finish_words();
    add_merge(*builder, merge, rank++);
  });
  if (!builder) finish_words();
  auto tokenizer = std::move(*builder).finish();
  if (!tokenizer) fail("a merge appears twice, or a word is the result of none");
  return *std::move(tokenizer);
}

void Reader::add_merge(BpeBuilder& builder, const json& merge, size_t rank) const {
  if (!merge.is_string()) fail("merge {} is not a string", rank);
  const auto& text = merge.get_ref<const std::string&>();
  const size_t blank = text.find(' ');
  std::string left, right;
  if (blank == std::string::npos || !from_byte_alphabet(std::string_view(text).substr(0, blank), left) ||
      !from_byte_alphabet(std::string_view(text).substr(blank + 1), right) ||
      !builder.add({builder.find(left), builder.find(right)}))
    fail("merge {}, {}, does not make a token of two earlier ones", rank, in_quotes(text));
}

}  // namespace

std::string Tokenizer::to_json() const {
  return std::visit([](const auto& t) { return file_of(t); }, is_);
}

Tokenizer Tokenizer::from_json(const std::string& text, const std::string& origin, ErrorKind kind) {
  return Reader(text, origin, kind).read();
}

}  // namespace moe
