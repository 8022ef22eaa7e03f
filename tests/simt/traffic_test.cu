// What the executor counts of a kernel's accesses to memory.

#include "tests/catch.h"
#include "tests/simt/executor/counters.h"
#include "tests/simt/executor/traffic.h"
#include "tests/simt/kernel_run.h"

namespace moe::test {
namespace {

// y[i] = x[i * stride], one float a thread.
__global__ void strided_kernel(int stride, const float* x, float* y) {
  y[threadIdx.x] = x[static_cast<int>(threadIdx.x) * stride];
}

__global__ void vector_kernel(const float4* x, float4* y) {
  const float4 v = x[threadIdx.x];
  y[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);
}

template <int stride>
__global__ void bank_kernel(float* y) {
  SHARED(tile, float[32 * 33]);
  tile[static_cast<int>(threadIdx.x) * stride] = 1;
  y[threadIdx.x] = tile[static_cast<int>(threadIdx.x) * stride];
}

template <auto kernel, class... Args>
simt::Counters count(Args... args) {
  simt::counters() = {};
  simt::traffic::count(true);
  run<kernel>({1, 32}, args...);
  simt::traffic::count(false);
  return simt::counters();
}

}  // namespace

TEST_CASE("sectors tell coalesced from scattered accesses", "[simt][counters]") {
  if (!simt::watch::on()) return;  // in the other program
  Buffer<float> x(32 * 32), y(32 * 4);
  const simt::Counters dense = count<strided_kernel>(1, x.data(), y.data());
  CHECK(dense.bytes_loaded == 128);
  CHECK(dense.bytes_stored == 128);
  CHECK(dense.sectors == 8);
  CHECK(dense.least_sectors == 8);
  const simt::Counters scattered = count<strided_kernel>(8, x.data(), y.data());
  CHECK(scattered.sectors == 32 + 4);
  CHECK(scattered.least_sectors == 8);
}

TEST_CASE("a float4 is one access of 16 bytes", "[simt][counters]") {
  if (!simt::watch::on()) return;
  Buffer<float> x(32 * 4), y(32 * 4);
  const simt::Counters c =
      count<vector_kernel>(reinterpret_cast<const float4*>(x.data()), reinterpret_cast<float4*>(y.data()));
  CHECK(c.bytes_loaded == 512);
  CHECK(c.bytes_stored == 512);
  CHECK(c.sectors == 32);
}

TEST_CASE("bank conflicts are passes beyond the first", "[simt][counters]") {
  if (!simt::watch::on()) return;
  Buffer<float> y(32);
  CHECK(count<bank_kernel<1>>(y.data()).bank_conflicts == 0);
  CHECK(count<bank_kernel<33>>(y.data()).bank_conflicts == 0);
  const simt::Counters worst = count<bank_kernel<32>>(y.data());
  CHECK(worst.shared_accesses == 2);
  CHECK(worst.bank_conflicts == 2 * 31);
  CHECK(count<bank_kernel<2>>(y.data()).bank_conflicts == 2 * 1);
}

}  // namespace moe::test
