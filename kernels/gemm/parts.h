#pragma once
// Between the cutting of a product into parts (gemm_cpu.cpp) and their computation (multiply.h), which is
// compiled for several instruction sets where the build is for any processor (MOE_NATIVE off), and chosen at
// run time.

#include <span>

#include "kernels/gemm/gemm.h"

namespace moe::kernels::cpu::detail {

inline constexpr int64_t kBlock = 512;     // of k: steps of one chain of multiply-adds
inline constexpr int64_t kMostRows = 264;  // of a part
inline constexpr int64_t kMostColumns = 128;
// Of the largest tile of registers of any instruction set; others divide them.
inline constexpr int64_t kTileRows = 12, kTileColumns = kSliverColumns;

// Rows [i0, i1) and columns [j0, j1) of a product, at least one of each.
template <class T>
struct Part {
  const Gemm<T>* product;
  int64_t i0, i1, j0, j1;
  double* squares;  // where given, receives the sum of the squares of these elements of C
};

// Elements that the computation of a part of k steps needs to work with: a packed sliver, and C transposed.
constexpr int64_t work_memory(int64_t k) {
  return (k + kMostColumns) * kTileColumns;
}

// The computation of a part, compiled for one instruction set. `memory` begins on a line of the cache and has
// work_memory(k) elements.
struct InstructionSet {
  const char* name;
  bool fuses;  // multiplications with additions: all that do give the same bits
  void (*multiply_floats)(const Part<float>&, float* memory);
  void (*multiply_doubles)(const Part<double>&, double* memory);
};

extern const InstructionSet kBuildSet;  // what the build compiles everything for
#ifdef MOE_CHOOSE_INSTRUCTION_SET
extern const InstructionSet kAvx2Set, kAvx512Set;
#endif

// Those of this build that this processor has, the best first, which is what gemm takes.
std::span<const InstructionSet> instruction_sets();

// gemm, computed by one of them.
template <class T>
void gemm(std::span<const Gemm<T>> problems, const InstructionSet& set);

}  // namespace moe::kernels::cpu::detail
