#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace moe {

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  require(extents.size() <= kMaxRank, "shape: rank {} is above {}", extents.size(), kMaxRank);
  std::copy(extents.begin(), extents.end(), extent_.begin());
  require(std::all_of(begin(), end(), [](int64_t e) { return e >= 0; }), "shape: {} has a negative extent",
          *this);
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (int64_t e : *this) {
    if (__builtin_mul_overflow(n, e, &n))
      throw error(ErrorKind::resource, "a tensor of shape {} has more elements than can be counted", *this);
  }
  return n;
}

std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
  return s + "]";
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

}  // namespace moe
