#pragma once
// What regular expressions call \p{L}, \p{N} and \s, by Unicode 16.0. The tables are in the source, so that
// the same text gives the same tokens on every system.

#include <cstdint>
#include <span>

namespace moe {

enum class CharacterClass : uint8_t { letter, number, space, other };

// Of a character up to U+10FFFF.
CharacterClass class_of(char32_t character);

namespace detail {

struct CharacterRange {
  char32_t first, last;
};

// In ascending order, apart from one another.
std::span<const CharacterRange> letters();
std::span<const CharacterRange> numbers();

}  // namespace detail
}  // namespace moe
