// The wrappers of kernels/mma.h against plain loops over whole matrices.

#include <vector>

#include "kernels/mma.h"
#include "tests/catch.h"
#include "tests/simt/kernel_run.h"

namespace moe::test {
namespace {

using Bf16 = __nv_bfloat16;

unsigned pair(Bf16 low, Bf16 high) {
  return __bfloat16_as_ushort(low) | unsigned{__bfloat16_as_ushort(high)} << 16;
}

// c [16, 8] += a [16, 16] b [16, 8] with registers filled as the header says.
__global__ void bf16_kernel(const Bf16* a, const Bf16* b, float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto of_a = [&](int row, int column) { return pair(a[row * 16 + column], a[row * 16 + column + 1]); };
  const auto of_b = [&](int row, int column) { return pair(b[row * 8 + column], b[(row + 1) * 8 + column]); };
  const unsigned ra[4] = {of_a(g, 2 * t), of_a(g + 8, 2 * t), of_a(g, 2 * t + 8), of_a(g + 8, 2 * t + 8)};
  const unsigned rb[2] = {of_b(2 * t, g), of_b(2 * t + 8, g)};
  float* const rows[2] = {c + g * 8 + 2 * t, c + (g + 8) * 8 + 2 * t};
  float rc[4] = {rows[0][0], rows[0][1], rows[1][0], rows[1][1]};
  gpu::mma_bf16(rc, ra, rb);
  for (int i = 0; i < 4; ++i) rows[i / 2][i % 2] = rc[i];
}

// The same product with A through shared memory and ldmatrix, B through ldmatrix.trans.
__global__ void ldmatrix_kernel(const Bf16* a, const Bf16* b, float* c) {
  SHARED(a_tile, Bf16[16][24]);  // rows 48 bytes apart
  SHARED(b_tile, Bf16[16][8]);
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  for (int i = lane; i < 256; i += 32) a_tile[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) b_tile[i / 8][i % 8] = b[i];
  __syncwarp();
  unsigned ra[4], rb[4];
  gpu::ldmatrix_x4(ra, &a_tile[lane % 16][lane / 16 * 8]);
  gpu::ldmatrix_x4_trans(rb, &b_tile[lane % 16][0]);
  float rc[4] = {};
  gpu::mma_bf16(rc, ra, {rb[0], rb[1]});
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] += rc[i];
}

__global__ void tf32_kernel(const float* a, const float* b, float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto of_a = [&](int row, int column) { return gpu::to_tf32(a[row * 8 + column]); };
  const unsigned ra[4] = {of_a(g, t), of_a(g + 8, t), of_a(g, t + 4), of_a(g + 8, t + 4)};
  const unsigned rb[2] = {gpu::to_tf32(b[t * 8 + g]), gpu::to_tf32(b[(t + 4) * 8 + g])};
  float rc[4] = {};
  gpu::mma_tf32(rc, ra, rb);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] += rc[i];
}

float plain(const auto& a, const auto& b, int k_size, int row, int column) {
  double sum = 0;
  for (int k = 0; k < k_size; ++k)
    sum +=
        static_cast<double>(static_cast<float>(a[row * k_size + k])) * static_cast<float>(b[k * 8 + column]);
  return static_cast<float>(sum);
}

}  // namespace

TEST_CASE("a bf16 product of fragments is the product of the matrices", "[simt]") {
  Buffer<Bf16> a(16 * 16), b(16 * 8);
  for (int i = 0; i < 256; ++i) a[i] = __float2bfloat16(static_cast<float>(i * 37 % 101 - 50) / 16);
  for (int i = 0; i < 128; ++i) b[i] = __float2bfloat16(static_cast<float>(i * 53 % 97 - 48) / 16);
  Buffer<float> c(16 * 8);
  for (int i = 0; i < 128; ++i) c[i] = static_cast<float>(i);
  // All values are multiples of 2^-8 below 2^12: every sum is exact.
  SECTION("from registers") {
    run<bf16_kernel>({1, 32}, a.data(), b.data(), c.data());
  }
  SECTION("through ldmatrix") {
    run<ldmatrix_kernel>({1, 32}, a.data(), b.data(), c.data());
  }
  for (int i = 0; i < 128; ++i) CHECK(c[i] == static_cast<float>(i) + plain(a, b, 16, i / 8, i % 8));
}

TEST_CASE("a tf32 product of fragments is the product of the rounded matrices", "[simt]") {
  Buffer<float> a(16 * 8), b(8 * 8), c(16 * 8);
  for (int i = 0; i < 128; ++i) a[i] = static_cast<float>(i * 37 % 101 - 50) / 16;
  for (int i = 0; i < 64; ++i) b[i] = static_cast<float>(i * 53 % 97 - 48) / 16;
  for (int i = 0; i < 128; ++i) c[i] = 0;
  std::vector<float> rounded(a.data(), a.data() + 128);
  a[0] = rounded[0] + 0x1p-10f;  // below half a step of 3.125's 10 bits: rounded away
  run<tf32_kernel>({1, 32}, a.data(), b.data(), c.data());
  for (int i = 0; i < 128; ++i) CHECK(c[i] == plain(rounded, b, 8, i / 8, i % 8));
}

TEST_CASE("to_tf32 rounds to ten bits, ties away from zero", "[simt]") {
  const auto rounded = [](float x) { return __uint_as_float(gpu::to_tf32(x)); };
  CHECK(rounded(1 + 0x1p-11f) == 1 + 0x1p-10f);
  CHECK(rounded(-1 - 0x1p-11f) == -1 - 0x1p-10f);
  CHECK(rounded(1 + 0x1.FFp-12f) == 1);
  CHECK(rounded(INFINITY) == INFINITY);
}

}  // namespace moe::test
