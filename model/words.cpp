#include "model/words.h"

#include "model/text.h"
#include "model/unicode.h"

namespace moe {
namespace {

// 's 't 're 've 'm 'll 'd, or 0.
size_t contraction_length(std::string_view rest) {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
    if (rest.starts_with(ending)) return ending.size();
  return 0;
}

CharacterClass class_at(std::string_view text, size_t& at) {
  const char32_t c = next_character(text, at);
  require(c != kNoCharacter, "word_end: the text is not valid UTF-8");
  return class_of(c);
}

// The end of the run of characters of one class from `at` on. `last`: where its last character begins, when
// there is one.
size_t run_end(std::string_view text, size_t at, CharacterClass wanted, size_t& last) {
  while (at < text.size()) {
    size_t next = at;
    if (class_at(text, next) != wanted) break;
    last = at;
    at = next;
  }
  return at;
}

}  // namespace

size_t word_end(std::string_view text, size_t begin) {
  if (const size_t length = contraction_length(text.substr(begin))) return begin + length;
  size_t at = begin, last = begin;
  CharacterClass kind = class_at(text, at);
  if (text[begin] == ' ' && at < text.size()) {  // " ?": the blank belongs to what follows it
    size_t next = at;
    kind = class_at(text, next);
  }
  if (kind != CharacterClass::space) return run_end(text, at, kind, last);
  // \s+(?!\S) ends before the last blank when something follows the run, unless that leaves nothing.
  const size_t end = run_end(text, begin, CharacterClass::space, last);
  return end == text.size() || last == begin ? end : last;
}

}  // namespace moe
