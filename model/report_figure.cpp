#include "model/report_figure.h"

#include <algorithm>
#include <cmath>

#include "model/report_assets.h"
#include "model/text.h"

namespace moe {
namespace {

std::string svg_open(const Figure& f) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "aria-label=\"{}\">",
      f.width, f.height, escape_markup(f.title));
}

std::string svg_body(const Figure& f) {
  return fmt::format("<text class=\"title\" x=\"8\" y=\"16\">{}</text>{}", escape_markup(f.title), f.body);
}

bool allowed_in_xml(char32_t c) {
  return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c != 0xFFFE && c != 0xFFFF);
}

// The next character, or U+FFFD and one byte further.
char32_t next_or_replacement(std::string_view text, size_t& at) {
  const char32_t c = next_character(text, at);
  if (c != kNoCharacter) return c;
  ++at;
  return 0xFFFD;
}

}  // namespace

std::string svg_file(const Figure& f) {
  std::string open = svg_open(f);
  open.insert(open.size() - 1, fmt::format(" width=\"{:.0f}\" height=\"{:.0f}\"", f.width, f.height));
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}<title>{}</title><desc>{}</desc><style>{}</style>"
      "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>{}</svg>\n",
      open, escape_markup(f.title), escape_markup(f.caption), kReportFigureCss, svg_body(f));
}

std::string svg_inline(const Figure& f) {
  return svg_open(f) + svg_body(f) + "</svg>";
}

std::string escape_markup(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_or_replacement(text, at);
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\r':
        out += "&#13;";
        break;
      default:
        append_utf8(out, allowed_in_xml(c) ? c : 0xFFFD);
    }
  }
  return out;
}

std::string shorten(std::string_view text, size_t most) {
  std::string out;
  size_t characters = 0;
  for (size_t at = 0; at < text.size(); ++characters) {
    const size_t before = at;
    const char32_t c = next_or_replacement(text, at);
    if (characters + 1 == most && at < text.size()) return out + "…";
    if (c == 0xFFFD)
      out += "\uFFFD";
    else
      out += text.substr(before, at - before);
  }
  return out;
}

std::string script_json(const nlohmann::json& json) {
  std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  return safe;
}

std::string visible_symbol(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t before = at;
    const char32_t c = next_or_replacement(text, at);
    const std::string described = describe(c);
    if (c == ' ') {
      out += "␣";
    } else if (c == '\n') {
      out += "↵";
    } else if (c == '\t') {
      out += "⇥";
    } else if (c == 0xFFFD) {
      out += "\uFFFD";
    } else if (described.starts_with("U+")) {
      out += described;
    } else {
      out += text.substr(before, at - before);
    }
  }
  return shorten(out, 12);
}

nlohmann::json Axes::json() const {
  return {{"box", {left, top, width, height}}, {"x", {x0, x1}}, {"y", {y0, y1}}};
}

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low)) return {low};
  const double rough = (high - low) / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  const double lead = rough / power;
  const double unit = power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
  const double first = std::ceil(low / unit - 1e-9);
  std::vector<double> values;
  // Counted, since steps that are small beside the values may lead nowhere.
  for (int i = 0; i <= 2 * count && (first + i) * unit <= high + 1e-9 * unit; ++i)
    values.push_back((first + i) * unit);
  return values;
}

namespace {

// Of the first digit: 0 for 7, 2 for 700, -2 for 0.07.
int place_of(double value) {
  return static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-9));
}

// "0.5", "100k": all labels of an axis have the decimals that the tick distance needs.
std::string tick_text(double value, double unit) {
  if (value == 0) return "0";
  if (unit >= 1e6) return fmt::format("{:.9g}M", value / 1e6);
  if (unit >= 1e3) return fmt::format("{:.0f}k", value / 1e3);
  const int place = place_of(unit);
  if (std::abs(value) < 1e-3) return fmt::format("{:.{}g}", value, std::max(3, place_of(value) - place + 1));
  return fmt::format("{:.{}f}", value, std::max(0, -place));
}

double unit_of(const std::vector<double>& values) {
  return values.size() > 1 ? values[1] - values[0] : 1;
}

}  // namespace

std::string draw_x_axis(const Axes& a) {
  std::string out;
  const std::vector<double> values = ticks(a.x0, a.x1, std::max(2, static_cast<int>(a.width / 80)));
  for (const double v : values) {
    if (v != std::floor(v)) continue;  // there is no half step
    append_path(out,
                "<path class=\"tick\" d=\"M{0:.1f} {1:.1f}v4\"/><text class=\"label middle\" x=\"{0:.1f}\" "
                "y=\"{2:.1f}\">{3}</text>",
                a.x(v), a.bottom(), a.bottom() + 16, tick_text(v, std::max(1.0, unit_of(values))));
  }
  append_path(out,
              "<path class=\"axis\" d=\"M{:.1f} {:.1f}h{:.1f}\"/><text class=\"label end\" x=\"{:.1f}\" "
              "y=\"{:.1f}\">step</text>",
              a.left, a.bottom(), a.width, a.right(), a.bottom() + 29);
  return out;
}

std::string draw_y_axis(const Axes& a) {
  std::string out;
  const std::vector<double> values = ticks(a.y0, a.y1, std::max(2, static_cast<int>(a.height / 38)));
  for (const double v : values)
    append_path(out,
                "<path class=\"grid\" d=\"M{:.1f} {:.1f}h{:.1f}\"/><text class=\"label end\" x=\"{:.1f}\" "
                "y=\"{:.1f}\">{}</text>",
                a.left, a.y(v), a.width, a.left - 6, a.y(v) + 4, tick_text(v, unit_of(values)));
  return out;
}

void CellPainter::flush() const {
  if (run_.width > 0 && run_.level != 0)
    append_path(path_of(run_.level), "M{:.1f} {:.1f}h{:.1f}v{:.1f}h{:.1f}z", run_.x, run_.y, run_.width,
                run_.height, -run_.width);
  run_ = {};
}

void CellPainter::add(double x, double y, double width, double height, double value) {
  const int level = static_cast<int>(std::lround(std::clamp(value, -1.0, 1.0) * kLevels));
  if (level == run_.level && y == run_.y && height == run_.height &&
      std::abs(run_.x + run_.width - x) < 1e-6) {
    run_.width += width;
    return;
  }
  flush();
  run_ = {x, y, width, height, level};
}

void CellPainter::strike(double x, double y, double width, double height) {
  append_path(strikes_, "M{:.1f} {:.1f}h{:.1f}", x, y + height / 2, width);
}

std::string CellPainter::svg() const {
  flush();
  std::string out;
  for (int level = -kLevels; level <= kLevels; ++level) {
    const std::string& path = path_of(level);
    if (!path.empty())
      append_path(out, "<path class=\"{}\" fill-opacity=\"{:.2f}\" d=\"{}\"/>", level < 0 ? "under" : "over",
                  std::abs(level) / static_cast<double>(kLevels), path);
  }
  if (!strikes_.empty()) append_path(out, "<path class=\"strike\" d=\"{}\"/>", strikes_);
  return out;
}

double ratio_shade(double ratio) {
  return ratio > 0 ? std::clamp(std::log2(ratio) / 3, -1.0, 1.0) : -1;
}

std::string draw_ratio_legend(double right, double y, const char* dead_label) {
  constexpr double kSize = 11;
  CellPainter painter;
  std::string out;
  double x = right;
  const auto label = [&](std::string_view text, double width) {
    x -= width;
    append_path(out, "<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", x, y + 9, text);
  };
  const auto swatch = [&](double value) {
    x -= kSize;
    painter.add(x, y, kSize, kSize, value);
    append_path(out, "<rect class=\"frame\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\"/>", x, y,
                kSize, kSize);
  };
  label("8×", 15);
  x -= 4;
  for (const double value : {1.0, 0.5, 0.0, -0.5, -1.0}) swatch(value);
  x -= 4;
  label("⅛×", 17);
  if (dead_label) {
    x -= 10;
    label(dead_label, 6.2 * static_cast<double>(std::string_view(dead_label).size()));
    x -= 3;
    swatch(-1);
    painter.strike(x, y, kSize, kSize);
  }
  return painter.svg() + out;
}

}  // namespace moe
