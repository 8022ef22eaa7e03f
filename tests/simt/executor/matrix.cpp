#include "matrix.h"

#include <bit>
#include <cstdint>
#include <cstring>

#include "shared.h"
#include "warp.h"
#include "watch.h"

namespace simt {
namespace {

struct Product {
  float c[4];
  unsigned a[4], b[2];
};

float bf16(const unsigned* registers, int i) {
  return std::bit_cast<float>(registers[i / 2] >> (16 * (i % 2)) << 16);
}

float tf32(unsigned x) {
  return std::bit_cast<float>(x & 0xFFFFE000u);
}

template <class Slot>
bool whole_warp(Slot* const* slots, const char* name) {
  for (int l = 0; l < 32; ++l)
    if (!slots[l]) {
      report(FaultKind::collective,
             std::string(name) + " needs all lanes, lane " + std::to_string(l) + " has left");
      return false;
    }
  return true;
}

// c += a b for all lanes, with what the lanes hold gathered into whole matrices.
template <int K>
void multiply(Product* const* slots, const float (&a)[16][K], const float (&b)[K][8]) {
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < 4; ++i) {
      const int row = l / 4 + (i >= 2 ? 8 : 0), column = 2 * (l % 4) + i % 2;
      for (int k = 0; k < K; ++k) slots[l]->c[i] += a[row][k] * b[k][column];
    }
}

void exchange_bf16(Product* const* slots) {
  if (!whole_warp(slots, "mma.m16n8k16")) return;
  float a[16][16], b[16][8];
  for (int l = 0; l < 32; ++l) {
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 8; ++i)
      a[g + (i & 2 ? 8 : 0)][2 * t + i % 2 + (i >= 4 ? 8 : 0)] = bf16(slots[l]->a, i);
    for (int i = 0; i < 4; ++i) b[2 * t + i % 2 + (i >= 2 ? 8 : 0)][g] = bf16(slots[l]->b, i);
  }
  multiply(slots, a, b);
}

void exchange_tf32(Product* const* slots) {
  if (!whole_warp(slots, "mma.m16n8k8")) return;
  float a[16][8], b[8][8];
  for (int l = 0; l < 32; ++l) {
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 4; ++i) a[g + (i & 1 ? 8 : 0)][t + (i >= 2 ? 4 : 0)] = tf32(slots[l]->a[i]);
    for (int i = 0; i < 2; ++i) b[t + 4 * i][g] = tf32(slots[l]->b[i]);
  }
  multiply(slots, a, b);
}

// `code` is where the caller goes on.
void run_product(const char* name, void (*exchange)(Product* const*), float (&c)[4], const unsigned (&a)[4],
                 const unsigned (&b)[2], const void* code) {
  Product p{{c[0], c[1], c[2], c[3]}, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  collective<Product>(name, kAllLanes, p, exchange, Location::current(), false, code);
  std::memcpy(c, p.c, sizeof c);
}

struct Load {
  const uint16_t* row;  // of eight elements
  bool transposed;
  unsigned r[4];
};

// The row that a lane names, or NaN where it names none.
const uint16_t* row_of(const void* shared_row, const void* code) {
  constexpr size_t kBytes = 16;
  static constexpr uint16_t kNone[] = {0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF};
  const watch::Executor executor;
  if (reinterpret_cast<uintptr_t>(shared_row) % kBytes)
    report(FaultKind::alignment, "ldmatrix: the row's address is no multiple of 16");
  if (!shared_memory::allowed(shared_row, kBytes)) {
    report(FaultKind::bounds, "ldmatrix: the row does not lie in a variable of shared memory");
    return kNone;
  }
  watch::access_for_thread(shared_row, kBytes, watch::Access::read, code);
  return static_cast<const uint16_t*>(shared_row);
}

void exchange_load(Load* const* slots) {
  if (!whole_warp(slots, "ldmatrix")) return;
  for (int l = 0; l < 32; ++l)
    for (int m = 0; m < 4; ++m) {
      const int g = l / 4, t = l % 4;
      const auto element = [&](int row, int column) { return unsigned{slots[8 * m + row]->row[column]}; };
      slots[l]->r[m] = slots[l]->transposed ? element(2 * t, g) | element(2 * t + 1, g) << 16
                                            : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
    }
}

}  // namespace

void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  run_product("mma.m16n8k16", exchange_bf16, c, a, b, __builtin_return_address(0));
}

void mma_m16n8k8_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  run_product("mma.m16n8k8", exchange_tf32, c, a, b, __builtin_return_address(0));
}

unsigned round_to_tf32(float x) {
  const unsigned bits = std::bit_cast<unsigned>(x);
  return x - x == 0 ? (bits + 0x1000u) & 0xFFFFE000u : bits;  // infinity and NaN stay
}

void ldmatrix_x4(unsigned (&r)[4], const void* shared_row, bool transposed) {
  const void* const code = __builtin_return_address(0);
  Load load{row_of(shared_row, code), transposed, {}};
  collective<Load>(transposed ? "ldmatrix.trans" : "ldmatrix", kAllLanes, load, exchange_load,
                   Location::current(), false, code);
  std::memcpy(r, load.r, sizeof r);
}

}  // namespace simt
