#include "model/text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "core/file.h"

namespace moe {
namespace {

constexpr const char* kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr int64_t kMaxTextBytes = int64_t{16} << 30;

// Controls, separators, marks of direction, blanks of no width, private and unassigned planes.
bool is_invisible(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 11> kRanges = {{{0x00, 0x1F},
                                                                      {0x7F, 0xA0},
                                                                      {0xAD, 0xAD},
                                                                      {0x300, 0x36F},
                                                                      {0x61C, 0x61C},
                                                                      {0x2000, 0x200F},
                                                                      {0x2028, 0x202F},
                                                                      {0x205F, 0x206F},
                                                                      {0xD800, 0xF8FF},
                                                                      {0xFE00, 0xFEFF},
                                                                      {0xFFF0, 0xFFFF}}};
  return c >= 0xE0000 || std::any_of(kRanges.begin(), kRanges.end(),
                                     [&](auto& range) { return c >= range.first && c <= range.second; });
}

}  // namespace

namespace {

// What stands at a place of a text: a character of `length` bytes, or kNoCharacter and the `length` bytes, at
// least one, that could still begin one; `cut` when it is the end of the text that keeps them from it.
struct Reading {
  char32_t character;
  size_t length;
  bool cut = false;
};

Reading read_character(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1};

  // Unicode 15, table 3-7: the lead byte tells the length, and narrows the second byte for E0, ED, F0 and F4.
  size_t length = 0;
  unsigned lowest = 0x80, highest = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) lowest = 0xA0;
    if (lead == 0xED) highest = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) lowest = 0x90;
    if (lead == 0xF4) highest = 0x8F;
  } else {
    return {kNoCharacter, 1};
  }
  char32_t c = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) return {kNoCharacter, i, true};
    if (byte(i) < lowest || byte(i) > highest) return {kNoCharacter, i};
    c = c << 6 | (byte(i) & 0x3Fu);
    lowest = 0x80;
    highest = 0xBF;
  }
  return {c, length};
}

}  // namespace

char32_t next_character(std::string_view text, size_t& at) {
  const Reading reading = read_character(text, at);
  if (reading.character != kNoCharacter) at += reading.length;
  return reading.character;
}

int64_t count_characters(std::string_view text) {
  return std::ranges::count_if(text, [](char b) { return (static_cast<unsigned char>(b) & 0xC0) != 0x80; });
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string text;
  size_t at = 0;
  while (at < pending_.size()) {
    const Reading reading = read_character(pending_, at);
    if (reading.cut) break;
    if (reading.character == kNoCharacter)
      text += kReplacement;
    else
      text.append(pending_, at, reading.length);
    at += reading.length;
  }
  pending_.erase(0, at);
  return text;
}

std::string Utf8Stream::finish() {
  return std::exchange(pending_, "").empty() ? "" : kReplacement;
}

void append_utf8(std::string& text, char32_t c) {
  const auto trail = [&](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += {static_cast<char>(0xC0 | c >> 6), trail(0)};
  } else if (c < 0x10000) {
    text += {static_cast<char>(0xE0 | c >> 12), trail(6), trail(0)};
  } else {
    text += {static_cast<char>(0xF0 | c >> 18), trail(12), trail(6), trail(0)};
  }
}

std::string describe(char32_t c) {
  const std::string number = fmt::format("U+{:04X}", static_cast<uint32_t>(c));
  if (is_invisible(c)) return number;
  std::string glyph;
  append_utf8(glyph, c);
  return fmt::format("'{}' ({})", glyph, number);
}

void check_text(std::string_view text, const std::string& what) {
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\0') throw error(ErrorKind::data, "{} is not a text: byte {} is NUL", what, at);
    if (next_character(text, at) == kNoCharacter)
      throw error(ErrorKind::data, "{} is not valid UTF-8: byte {} is 0x{:02X}", what, at,
                  static_cast<unsigned char>(text[at]));
  }
}

std::string load_text(const std::filesystem::path& path) {
  std::string text = read_file(path, ErrorKind::data, kMaxTextBytes);
  if (text.empty()) throw error(ErrorKind::data, "{} is empty", path.string());
  check_text(text, path.string());
  return text;
}

}  // namespace moe
