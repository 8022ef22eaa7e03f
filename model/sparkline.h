#pragma once
// A curve in one line of text.

#include <span>
#include <string>

namespace moe {

// At most `width` blocks of Unicode (▁ for the lowest, █ for the highest), UTF-8, left to right; each stands
// for the mean of as many values as there are for one block. Values that are not finite are left out, and a
// block without any other is a blank. Empty for no values.
std::string sparkline(std::span<const double> values, size_t width);

}  // namespace moe
