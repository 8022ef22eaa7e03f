#include "model/byte_alphabet.h"

#include <array>

#include "model/text.h"

namespace moe {
namespace {

constexpr char32_t kMoved = 0x100;  // the character of the first byte that is not visible
constexpr int32_t kBytes = 256, kVisible = 188;

constexpr bool is_visible(int32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The visible bytes come first, since their characters are below U+0100.
constexpr auto kByteOfRank = [] {
  std::array<unsigned char, kBytes> bytes{};
  int32_t visible = 0, moved = kVisible;
  for (int32_t b = 0; b < kBytes; ++b)
    bytes[is_visible(b) ? visible++ : moved++] = static_cast<unsigned char>(b);
  return bytes;
}();

constexpr auto kRankOfByte = [] {
  std::array<int32_t, kBytes> ranks{};
  for (int32_t r = 0; r < kBytes; ++r) ranks[kByteOfRank[r]] = r;
  return ranks;
}();

char32_t character_of(unsigned char byte) {
  return is_visible(byte) ? byte : kMoved + static_cast<char32_t>(kRankOfByte[byte] - kVisible);
}

}  // namespace

unsigned char byte_of_rank(int32_t rank) {
  return kByteOfRank[static_cast<size_t>(rank)];
}

int32_t rank_of_byte(unsigned char byte) {
  return kRankOfByte[byte];
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (const char b : bytes) append_utf8(text, character_of(static_cast<unsigned char>(b)));
  return text;
}

bool from_byte_alphabet(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (c < kMoved && is_visible(static_cast<int32_t>(c)))
      bytes += static_cast<char>(c);
    else if (c >= kMoved && c < kMoved + kBytes - kVisible)
      bytes += static_cast<char>(byte_of_rank(static_cast<int32_t>(c - kMoved) + kVisible));
    else
      return false;
  }
  return true;
}

}  // namespace moe
