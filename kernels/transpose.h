#pragma once
// A square of vectors, transposed in registers. Internal linkage, for sources that are compiled for one
// instruction set each include this (kernels/gemm/multiply.h).

#include <utility>

namespace moe::kernels::cpu::detail {
namespace {

// Exchanges the off-diagonal Step x Step blocks of every 2*Step x 2*Step block, for Step = 1, 2, ... half of
// the lanes: after the last step the square v is transposed.
template <int Step, class V, int... Lane>
[[gnu::always_inline]] inline void exchange_blocks(V* v, std::integer_sequence<int, Lane...> lanes) {
  constexpr int n = sizeof...(Lane);
  if constexpr (Step < n) {
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) {
      if (i & Step) continue;
      const V x = v[i], y = v[i + Step];
      v[i] = __builtin_shufflevector(x, y, (Lane & Step ? n + Lane - Step : Lane)...);
      v[i + Step] = __builtin_shufflevector(x, y, (Lane & Step ? n + Lane : Lane + Step)...);
    }
    exchange_blocks<2 * Step>(v, lanes);
  }
}

// Lane j of square[i] becomes lane i of square[j]. As many vectors as they have lanes.
template <class V, int N>
[[gnu::always_inline]] inline void transpose(V (&square)[N]) {
  static_assert(sizeof(V) == N * sizeof square[0][0]);
  exchange_blocks<1>(square, std::make_integer_sequence<int, N>());
}

}  // namespace
}  // namespace moe::kernels::cpu::detail
