#pragma once
// Sums and the like over a tile of a warp, in the place of NVIDIA's header of this name.

#include "../cooperative_groups.h"

namespace cooperative_groups {

template <class T>
struct plus {
  T operator()(T a, T b) const { return a + b; }
};
template <class T>
struct less {
  T operator()(T a, T b) const { return b < a ? b : a; }
};
template <class T>
struct greater {
  T operator()(T a, T b) const { return a < b ? b : a; }
};

// Every thread of the tile gets op over the values of all, in a fixed order, which is not a GPU's.
template <unsigned Size, class Parent, class T, class Op>
T reduce(const thread_block_tile<Size, Parent>& tile, T value, Op op,
         const simt::Location& at = simt::Location::current()) {
  for (unsigned bits = Size / 2; bits; bits /= 2) value = op(value, tile.shfl_xor(value, bits, at));
  return value;
}

}  // namespace cooperative_groups
