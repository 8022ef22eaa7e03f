// What the pictures need of terminals and colours.

#include "tests/terminal.h"

#include <cmath>
#include <limits>
#include <set>

#include "model/colored_text.h"
#include "model/number_text.h"
#include "model/palette.h"
#include "model/sparkline.h"
#include "model/text.h"

using namespace moe;

namespace {

// Contrast with black, by WCAG 2.
double contrast(Rgb c) {
  const auto linear = [](int v) {
    const double s = v / 255.0;
    return s <= 0.04045 ? s / 12.92 : std::pow((s + 0.055) / 1.055, 2.4);
  };
  return (0.2126 * linear(c.r) + 0.7152 * linear(c.g) + 0.0722 * linear(c.b) + 0.05) / 0.05;
}

}  // namespace

TEST_CASE("a sparkline has a block for as many values as fit", "[terminal]") {
  CHECK(sparkline(std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7}, 8) == "▁▂▃▄▅▆▇█");
  CHECK(sparkline(std::vector<double>{0, 0, 7, 7}, 2) == "▁█");
  CHECK(sparkline(std::vector<double>{3, 3}, 9) == "▁▁");
  CHECK(sparkline({}, 9).empty());
  CHECK(sparkline(std::vector<double>{1, 2}, 0).empty());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(sparkline(std::vector<double>{1, nan, INFINITY, 2}, 4) == "▁  █");
  CHECK(sparkline(std::vector<double>{1, nan, 2, 2}, 2) == "▁█");
  CHECK(sparkline(std::vector<double>{1e308, 1e308, -1e308, -1e308}, 2) == "█▁");
}

TEST_CASE("black text can be read on every expert's colour, and no two of 64 are the same", "[terminal]") {
  std::set<std::string> colors;
  for (int64_t e = 0; e < 64; ++e) {
    CHECK(contrast(expert_color(e)) >= 4.5);
    colors.insert(hex(expert_color(e)));
  }
  CHECK(colors.size() == 64);
  std::set<int> of_terminal;
  for (int64_t e = 0; e < 9; ++e) of_terminal.insert(terminal_color(expert_color(e)));
  CHECK(of_terminal.size() == 9);
  CHECK(terminal_color({255, 0, 0}) == 196);
  CHECK(terminal_color({0, 0, 0}) == 16);
  CHECK(hex(expert_color(0)) == "#77aadd");
}

TEST_CASE("lines of layers grow lighter from the first to the last", "[terminal]") {
  for (int64_t l = 1; l < 8; ++l) CHECK(contrast(depth_color(l, 8)) > contrast(depth_color(l - 1, 8)));
  CHECK(contrast(depth_color(0, 8)) > 3);         // seen on black
  CHECK(21 / contrast(depth_color(7, 8)) > 1.8);  // and on white
  CHECK(hex(depth_color(0, 1)) == hex(depth_color(0, 9)));
}

TEST_CASE("coloured text is the text and escape sequences", "[terminal]") {
  ExpertColors colors;
  const std::string text = colors.paint("a\n\nb", 0) + colors.paint("\n", 1) + colors.paint("c", 1);
  CHECK(without_escapes(text) == "a\n\nb\nc");
  CHECK(text.starts_with("\x1b[30;48;5;110ma\x1b[0m\n\n\x1b[30;48;5;110mb"));
  CHECK(text.find("m\n") != std::string::npos);  // colours end before the line does
  CHECK(text.find("\n\x1b[0m") == std::string::npos);
}

TEST_CASE("a character of several tokens stays whole", "[terminal]") {
  ExpertColors colors;
  CHECK(colors.paint("x\xE2", 0) == "\x1b[30;48;5;110mx\x1b[0m");
  CHECK(colors.paint("\x82", 0).empty());
  CHECK(without_escapes(colors.paint("\xAC!", 1)) == "€!");
  CHECK(colors.paint("\xF0\x9F\x98", 0).empty());
  CHECK(colors.finish() == "\uFFFD");  // as without colours
  CHECK(colors.finish().empty());
}

TEST_CASE("coloured bytes that are no text become what they become without colours", "[terminal]") {
  ExpertColors colors;
  Utf8Stream stream;
  std::string colored, plain;
  for (const std::string_view token : {"\xFF", "a\xE2", "b", "\x80\n\xC3", "\xA9", "\xF0\x9F"}) {
    colored += colors.paint(token, 2);
    plain += stream.push(token);
  }
  CHECK(without_escapes(colored + colors.finish()) == plain + stream.finish());
}

TEST_CASE("numbers are short and counts have commas", "[terminal]") {
  CHECK(count_text(8996545) == "8,996,545");
  CHECK(count_text(-1234) == "-1,234");
  CHECK(count_text(7) == "7");
  CHECK(number_text(0) == "0");
  CHECK(number_text(1.69944) == "1.699");
  CHECK(number_text(0.001) == "0.001");
  CHECK(number_text(12345.6) == "12,346");
  CHECK(number_text(9999.7) == "10,000");
  CHECK(number_text(9999.4) == "9999");
  CHECK(number_text(0.0000123) == "1.2e-05");
}
