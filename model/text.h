#pragma once
// Text from outside: UTF-8 files and strings, and the characters (Unicode code points) in them.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/error.h"

namespace moe {

// The contents of a text file: valid UTF-8, not empty, at most 16 GiB. Nothing is changed: a byte order mark
// or carriage returns are characters like others. Throws ErrorKind::data naming the path and the reason. A
// NUL byte is refused, although Unicode has it: files that hold one are not text.
std::string load_text(const std::filesystem::path&);

// Throws ErrorKind::data, naming `what` and the first bad byte, unless the text is UTF-8 by the Unicode
// Standard's table 3-7 (no overlong forms, no surrogates, nothing above U+10FFFF, nothing cut short) without
// NUL.
void check_text(std::string_view text, const std::string& what);

// The character at text[at], moving `at` behind it; `at` must be inside. On bytes that are no UTF-8 returns
// kNoCharacter and leaves `at`.
inline constexpr char32_t kNoCharacter = 0xFFFFFFFF;
char32_t next_character(std::string_view text, size_t& at);

// How many characters a valid text has.
int64_t count_characters(std::string_view text);

void append_utf8(std::string& text, char32_t character);

// Makes whole characters of bytes that come in pieces, as those of tokens do. Each longest run of bytes that
// can no longer become a character comes out as one U+FFFD, as the Unicode Standard recommends.
class Utf8Stream {
 public:
  // What can be shown now. The first bytes of a character wait for its last.
  std::string push(std::string_view bytes);
  // At the end: U+FFFD when a character was begun, "" otherwise.
  std::string finish();

 private:
  std::string pending_;
};

// For messages: 'é' (U+00E9), and U+000A alone for what has no visible form or would disturb a terminal.
std::string describe(char32_t character);

}  // namespace moe
