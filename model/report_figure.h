#pragma once
// One picture of a report: SVG that stands alone, and the numbers behind it for the page's script.

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

struct Figure {
  std::string id;     // also the name of its file
  std::string title;  // plain text, as are all strings here but body
  std::string caption;
  double width = 0, height = 0;
  std::string body;     // SVG elements, without the title
  nlohmann::json data;  // what the script shows when the pointer is over it: see report.js
};

// <svg> with the title: as a file of its own, with colours for light and dark; or for the inside of a page
// that has them already.
std::string svg_file(const Figure& figure);
std::string svg_inline(const Figure& figure);

// Text for the inside of HTML and XML, also of quoted attributes. What is no UTF-8, and what XML does not
// allow, becomes U+FFFD.
std::string escape_markup(std::string_view text);
// At most `most` characters, the last one an ellipsis where some were left out.
std::string shorten(std::string_view text, size_t most);
// JSON for the inside of a <script>: no "<" in it.
std::string script_json(const nlohmann::json& json);
// A token's text as something to look at: ␣ ↵ ⇥ for blanks, U+00A0 for what has no form, and short.
std::string visible_symbol(std::string_view text);

// Where a plot's axes lie in the SVG, and which values they span.
struct Axes {
  double left = 0, top = 0, width = 0, height = 0;
  double x0 = 0, x1 = 1, y0 = 0, y1 = 1;

  double x(double value) const { return left + width * (value - x0) / (x1 - x0); }
  double y(double value) const { return top + height * (y1 - value) / (y1 - y0); }
  double bottom() const { return top + height; }
  double right() const { return left + width; }
  // Numbers that the script needs to turn a place into values.
  nlohmann::json json() const;
};

// Round values inside [low, high], about `count` of them.
std::vector<double> ticks(double low, double high, int count);
// Ticks, labels and grid lines. The horizontal axis counts steps.
std::string draw_x_axis(const Axes& axes);
std::string draw_y_axis(const Axes& axes);

// Cells of equal colour drawn as one path: small files for large tables. A value in [-1, 1] is a shade of
// "over" (above 0) or "under"; 0 is no mark at all.
class CellPainter {
 public:
  // Cells of a row come from left to right; equal neighbours become one rectangle.
  void add(double x, double y, double width, double height, double value);
  // A line through the middle: nothing was there at all.
  void strike(double x, double y, double width, double height);
  std::string svg() const;

  static constexpr int kLevels = 16;

 private:
  std::string& path_of(int level) const { return paths_.at(static_cast<size_t>(int64_t{level} + kLevels)); }
  struct Run {
    double x = 0, y = 0, width = 0, height = 0;
    int level = 0;  // -kLevels .. kLevels
  };
  void flush() const;

  mutable Run run_;
  mutable std::array<std::string, 2 * kLevels + 1> paths_;  // by level + kLevels
  std::string strikes_;
};

// log2(ratio) / 3 within [-1, 1]: an eighth or less of what is even, to eight times as much or more.
double ratio_shade(double ratio);
// A row of swatches that explains ratio_shade, its right end at (right, y).
std::string draw_ratio_legend(double right, double y, const char* dead_label);

// "M1.5 2": numbers of a path, to a tenth.
template <class... Args>
void append_path(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

}  // namespace moe
