#pragma once
// The extents of a tensor, row-major, rank 0 to 4.

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace moe {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  // Throws ErrorKind::runtime for a negative extent or more than kMaxRank of them.
  Shape(std::initializer_list<int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  // Extent i; negative i counts from the end, as in shape[-1].
  int64_t operator[](int i) const { return extent_[static_cast<size_t>(i < 0 ? i + rank_ : i)]; }
  const int64_t* begin() const { return extent_.data(); }
  const int64_t* end() const { return extent_.data() + rank_; }

  // The product of the extents, 1 for rank 0. Throws ErrorKind::resource when it overflows int64.
  int64_t numel() const;
  std::string str() const;  // "[64, 2]"

  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> extent_{};
  int rank_ = 0;
};

}  // namespace moe

// Messages name shapes without making their text before it is needed.
template <>
struct fmt::formatter<moe::Shape> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const moe::Shape& shape, Context& context) const {
    return fmt::formatter<std::string>::format(shape.str(), context);
  }
};
