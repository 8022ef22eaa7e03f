// What the executor's barriers, warp collectives and shared memory do, under every schedule.

#include "kernels/gpu.h"
#include "tests/catch.h"
#include "tests/simt/kernel_run.h"

namespace moe::test {
namespace {

__global__ void reverse_kernel(int n, const int* x, int* y) {
  SHARED(tile, int[128]);
  DYNAMIC_SHARED(int, other);
  const int i = static_cast<int>(threadIdx.x);
  tile[i] = x[i];
  other[i] = i;
  __syncthreads();
  y[i] = tile[n - 1 - i] + 1000 * other[n - 1 - i];
}

template <class T>
__global__ void warp_sums_kernel(const T* x, T* y) {
  T sum = x[threadIdx.x];
  for (int bits = 16; bits; bits /= 2) sum += __shfl_xor_sync(~0u, sum, bits);
  y[threadIdx.x] = sum;
}

// A sum over half a warp, whose other half does something else.
__global__ void half_warp_kernel(int* y) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 16) {
    int sum = lane;
    for (int distance = 8; distance; distance /= 2) sum += __shfl_down_sync(0xFFFFu, sum, distance, 16);
    y[lane] = lane == 0 ? sum : 0;
  } else {
    y[lane] = static_cast<int>(__ballot_sync(0xFFFF0000u, lane % 2));
  }
}

__global__ void count_kernel(int* y) {
  if (threadIdx.x >= 60) return;  // what has left is not waited for
  y[threadIdx.x] = __syncthreads_count(threadIdx.x % 3 == 0);
}

__global__ void grid_kernel(unsigned* y) {
  if (threadIdx.x + threadIdx.y + threadIdx.z) return;
  y[(blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] =
      blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z;
}

}  // namespace

TEST_CASE("threads see after a barrier what others wrote before it", "[simt]") {
  under_all_schedules(4, [] {
    Buffer<int> x(64), y(64);
    for (int i = 0; i < 64; ++i) x[i] = i * i;
    run<reverse_kernel>({1, 64, 64 * sizeof(int)}, 64, x.data(), y.data());
    for (int i = 0; i < 64; ++i) CHECK(y[i] == (63 - i) * (63 - i) + 1000 * (63 - i));
  });
}

TEST_CASE("a butterfly of shuffles sums a warp", "[simt]") {
  under_all_schedules(4, [] {
    Buffer<double> x(96), y(96);
    for (int i = 0; i < 96; ++i) x[i] = i;
    run<warp_sums_kernel<double>>({1, 96}, x.data(), y.data());
    for (int i = 0; i < 96; ++i) CHECK(y[i] == 32 * (i / 32 * 32) + 31 * 16);
  });
}

TEST_CASE("parts of a warp run collectives of their own", "[simt]") {
  under_all_schedules(4, [] {
    Buffer<int> y(32);
    run<half_warp_kernel>({1, 32}, y.data());
    CHECK(y[0] == 120);
    CHECK(static_cast<unsigned>(y[20]) == 0xAAAA0000u);
  });
}

TEST_CASE("a barrier counts the threads that are left", "[simt]") {
  under_all_schedules(4, [] {
    Buffer<int> y(60);
    run<count_kernel>({1, 64}, y.data());
    for (int i = 0; i < 60; ++i) CHECK(y[i] == 20);
  });
}

TEST_CASE("every block of a grid runs once with its own index", "[simt]") {
  under_all_schedules(4, [] {
    Buffer<unsigned> y(2 * 3 * 4);
    run<grid_kernel>({dim3(2, 3, 4), dim3(2, 2, 2)}, y.data());
    for (unsigned z = 0; z < 4; ++z)
      for (unsigned row = 0; row < 3; ++row)
        for (unsigned x = 0; x < 2; ++x) CHECK(y[(z * 3 + row) * 2 + x] == x + 10 * row + 100 * z);
  });
}

TEST_CASE("a grid without blocks launches nothing", "[simt]") {
  run<count_kernel>({dim3(0, 1, 1), 64}, nullptr);
}

}  // namespace moe::test
