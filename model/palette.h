#pragma once
// Colours for experts and layers, chosen to stay apart for colour-blind eyes too.

#include <cstdint>
#include <string>

namespace moe {

struct Rgb {
  uint8_t r = 0, g = 0, b = 0;
};

// A background for black text (contrast at least 4.5). The first nine are Paul Tol's light scheme ("Colour
// Schemes", SRON technical note 09-002, 2021), made for that and for all kinds of colour vision; the ones
// after them go round the hues by the golden angle in three lightnesses, and repeat never.
Rgb expert_color(int64_t expert);

// A line's colour, visible on white and on black: from blue for the first of `count` to orange for the last,
// growing lighter.
Rgb depth_color(int64_t index, int64_t count);

std::string hex(Rgb);  // "#77aadd"
// The nearest of the 216 colours that terminals number 16 to 231.
int terminal_color(Rgb);

}  // namespace moe
