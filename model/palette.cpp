#include "model/palette.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace moe {
namespace {

uint8_t to_byte(double linear) {
  const double c = std::clamp(linear, 0.0, 1.0);
  const double encoded = c <= 0.0031308 ? 12.92 * c : 1.055 * std::pow(c, 1 / 2.4) - 0.055;  // IEC 61966-2-1
  return static_cast<uint8_t>(std::lround(255 * encoded));
}

// Oklab's polar form (Björn Ottosson 2020, "A perceptual color space for image processing"); hue in degrees.
Rgb from_oklch(double lightness, double chroma, double hue) {
  const double angle = hue * std::numbers::pi / 180;
  const double a = chroma * std::cos(angle), b = chroma * std::sin(angle);
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
  const double m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
  const double s = std::pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
  return {to_byte(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          to_byte(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          to_byte(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

}  // namespace

Rgb expert_color(int64_t expert) {
  static constexpr std::array<Rgb, 9> kLight = {{{0x77, 0xAA, 0xDD},
                                                 {0xEE, 0x88, 0x66},
                                                 {0xEE, 0xDD, 0x88},
                                                 {0xFF, 0xAA, 0xBB},
                                                 {0x99, 0xDD, 0xFF},
                                                 {0x44, 0xBB, 0x99},
                                                 {0xBB, 0xCC, 0x33},
                                                 {0xAA, 0xAA, 0x00},
                                                 {0xDD, 0xDD, 0xDD}}};
  constexpr auto kFixed = static_cast<int64_t>(kLight.size());
  if (expert < kFixed) return kLight[static_cast<size_t>(std::max<int64_t>(expert, 0))];
  constexpr double kGoldenAngle = 137.50776405;
  constexpr std::array<double, 3> kLightness = {0.80, 0.90, 0.70};
  return from_oklch(kLightness[static_cast<size_t>(expert % 3)], 0.11,
                    std::fmod(kGoldenAngle * static_cast<double>(expert), 360));
}

Rgb depth_color(int64_t index, int64_t count) {
  const double t = count > 1 ? static_cast<double>(index) / static_cast<double>(count - 1) : 0;
  return from_oklch(0.52 + 0.22 * t, 0.13, 265 - 200 * t);
}

std::string hex(Rgb c) {
  return fmt::format("#{:02x}{:02x}{:02x}", c.r, c.g, c.b);
}

int terminal_color(Rgb c) {
  static constexpr std::array<int, 6> kSteps = {0, 95, 135, 175, 215, 255};
  const auto nearest = [](int value) {
    int best = 0;
    for (int i = 1; i < 6; ++i)
      if (std::abs(kSteps[static_cast<size_t>(i)] - value) <
          std::abs(kSteps[static_cast<size_t>(best)] - value))
        best = i;
    return best;
  };
  return 16 + 36 * nearest(c.r) + 6 * nearest(c.g) + nearest(c.b);
}

}  // namespace moe
