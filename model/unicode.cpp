#include "model/unicode.h"

#include <algorithm>
#include <array>

namespace moe {
namespace {

using detail::CharacterRange;

bool is_in(std::span<const CharacterRange> ranges, char32_t c) {
  const auto range = std::ranges::lower_bound(ranges, c, {}, &CharacterRange::last);
  return range != ranges.end() && range->first <= c;
}

// The property White_Space.
constexpr CharacterRange kSpaces[] = {{0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                                      {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                      {0x205F, 0x205F}, {0x3000, 0x3000}};

CharacterClass look_up(char32_t c) {
  if (is_in(detail::letters(), c)) return CharacterClass::letter;
  if (is_in(kSpaces, c)) return CharacterClass::space;
  return is_in(detail::numbers(), c) ? CharacterClass::number : CharacterClass::other;
}

}  // namespace

CharacterClass class_of(char32_t c) {
  static const auto latin = [] {
    std::array<CharacterClass, 0x100> classes{};
    for (char32_t i = 0; i < classes.size(); ++i) classes[i] = look_up(i);
    return classes;
  }();
  return c < latin.size() ? latin[c] : look_up(c);
}

}  // namespace moe
