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

// Everyone reads one number.
__global__ void broadcast_kernel(const float* x, float* y) {
  y[blockIdx.x * blockDim.x + threadIdx.x] = *x;
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
  CHECK(c.bytes_in_128_bits == 1024);
  Buffer<float> z(32);
  CHECK(count<strided_kernel>(1, x.data(), z.data()).bytes_in_128_bits == 0);
}

TEST_CASE("what many read counts once for each warp, block or launch", "[simt][counters]") {
  if (!simt::watch::on()) return;
  Buffer<float> x(1), y(2 * 64);
  x[0] = 1;
  simt::counters() = {};
  simt::traffic::count(true);
  for (int launch = 0; launch < 3; ++launch) run<broadcast_kernel>({2, 64}, x.data(), y.data());
  simt::traffic::count(false);
  const simt::Counters& c = simt::counters();
  CHECK(c.bytes_loaded == 3 * 2 * 64 * 4);
  CHECK(c.bytes_loaded_by_warps == 3 * 4 * 4);
  CHECK(c.bytes_loaded_by_blocks == 3 * 2 * 4);
  CHECK(c.bytes_read_once == 3 * 4);
  CHECK(c.bytes_stored_by_warps == 3 * 2 * 64 * 4);
  CHECK(c.bytes_written_once == 3 * 2 * 64 * 4);
}

TEST_CASE("the instruction that scatters is named, those that do not are not", "[simt][counters]") {
  if (!simt::watch::on()) return;
  Buffer<float> x(32 * 32), y(32);
  for (int i = 0; i < 32 * 32; ++i) x[i] = 0;
  count<strided_kernel>(8, x.data(), y.data());
  const auto& places = simt::traffic::places();
  REQUIRE(places.contains("strided_kernel"));
  REQUIRE(places.at("strided_kernel").size() == 1);
  CHECK(places.at("strided_kernel").begin()->second.more_sectors == 28);
  count<strided_kernel>(1, x.data(), y.data());
  CHECK(places.at("strided_kernel").empty());
}

TEST_CASE("what the launches of a kernel cost is kept under its name", "[simt][counters]") {
  Buffer<float> x(32), y(32);
  for (int i = 0; i < 32; ++i) x[i] = 0;
  const simt::Counters before = simt::counters_of_kernels()["strided_kernel"];
  run<strided_kernel>({1, 32}, 1, x.data(), y.data());
  const simt::Counters cost = simt::counters_of_kernels()["strided_kernel"] - before;
  CHECK(cost.kernels == 1);
  CHECK(cost.threads == 32);
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
