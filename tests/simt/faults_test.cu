// Does the executor find what it promises to find? Races have a file of their own.

#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/gpu.h"
#include "kernels/mma.h"
#include "tests/catch.h"
#include "tests/simt/find_faults.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace moe::test {
namespace {

// --- bounds ---

template <bool right>
__global__ void global_write_kernel(const int*, int* y) {
  y[threadIdx.x + !right] = 1;
}

template <bool right>
__global__ void global_read_kernel(const int* x, int* y) {
  y[threadIdx.x] = x[threadIdx.x + !right];
}

template <bool right>
__global__ void shared_write_kernel(const int*, int* y) {
  SHARED(tile, int[32]);
  SHARED(next, int[32]);
  next[threadIdx.x] = 1;
  int* const p = tile;
  p[threadIdx.x + !right] = 2;
  y[threadIdx.x] = next[threadIdx.x];
}

template <bool right>
__global__ void shared_read_kernel(const int*, int* y) {
  SHARED(tile, int[32]);
  tile[threadIdx.x] = 2;
  const int* const p = tile;
  y[threadIdx.x] = right || threadIdx.x != 31 ? p[threadIdx.x] : p[32];
}

__global__ void pair_kernel(int offset, const int* x, int2* y) {
  *y = *reinterpret_cast<const int2*>(x + offset);
}

__global__ void copy_kernel(const int* x, int* y) {
  *y = *x;
}

constexpr int kTableOfPrimes[] = {2, 3, 5, 7};
int g_of_the_host = 7;

__global__ void table_kernel(int* y) {
  y[threadIdx.x] = kTableOfPrimes[threadIdx.x];
}

// Through a pointer: g++ tells nobody of reads of what it knows to be constant.
__global__ void read_through_kernel(const int* x, int* y) {
  y[threadIdx.x] = x[threadIdx.x];
}

__global__ void write_to_host_kernel(int value) {
  g_of_the_host = value;
}

__global__ void read_of_host_kernel(int* y) {
  *y = g_of_the_host;
}

// --- memory that nothing has written ---

template <bool right>
__global__ void unwritten_shared_kernel(const int*, int* y) {
  SHARED(tile, int[33]);
  tile[threadIdx.x] = 1;
  y[threadIdx.x] = tile[right ? threadIdx.x : 32];
}

// --- collectives and barriers ---

template <bool right>
__global__ void lane_outside_mask_kernel(const int*, int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xFFFFu, 1, right ? 8 : 16);
}

template <bool right>
__global__ void not_in_own_mask_kernel(const int*, int* y) {
  y[threadIdx.x] = __any_sync(right ? ~0u : ~(1u << 3), 1);
}

template <bool right>
__global__ void left_lane_kernel(const int*, int* y) {
  if (threadIdx.x >= 20) return;
  y[threadIdx.x] = __shfl_down_sync(right ? 0xFFFFFu : ~0u, 1, 16, right ? 4 : 32);
}

template <bool right>
__global__ void different_collectives_kernel(const int*, int* y) {
  if (right || threadIdx.x % 2)
    y[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
  else
    y[threadIdx.x] = __shfl_sync(~0u, 1, 1);
}

template <bool right>
__global__ void different_barriers_kernel(const int*, int* y) {
  if (right || threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  y[threadIdx.x] = 1;
}

template <bool right>
__global__ void deadlock_kernel(const int*, int* y) {
  if (right || threadIdx.x == 5) __syncthreads();
  y[threadIdx.x] = __shfl_sync(~0u, 1, 0);
}

template <bool right>
__global__ void left_mma_kernel(const int*, int* y) {
  if (!right && threadIdx.x == 31) return;
  float c[4] = {};
  gpu::mma_bf16(c, {1, 2, 3, 4}, {5, 6});
  y[threadIdx.x] = static_cast<int>(c[0]);
}

template <bool right>
__global__ void parted_mma_kernel(const int*, int* y) {
  float c[4] = {};
  if (right || threadIdx.x % 2)
    gpu::mma_bf16(c, {1, 2, 3, 4}, {5, 6});
  else
    gpu::mma_bf16(c, {1, 2, 3, 5}, {5, 6});
  y[threadIdx.x] = static_cast<int>(c[0]);
}

template <bool right>
__global__ void parted_ldmatrix_kernel(const int* x, int* y) {
  SHARED(tile, int[32][4]);
  for (int i = 0; i < 4; ++i) tile[threadIdx.x][i] = x[threadIdx.x];
  __syncwarp();
  unsigned r[4];
  if (right || threadIdx.x < 16)
    gpu::ldmatrix_x4(r, tile[threadIdx.x]);
  else
    gpu::ldmatrix_x4(r, tile[threadIdx.x - 16]);
  y[threadIdx.x] = static_cast<int>(r[0]);
}

// One place, though the compiler may unroll the loop for some lanes and not for others.
__global__ void looping_mma_kernel(int* y) {
  float c[4] = {};
  for (unsigned i = threadIdx.x; i < threadIdx.x + 4; ++i) gpu::mma_bf16(c, {i, 2, 3, 4}, {5, 6});
  y[threadIdx.x] = static_cast<int>(c[0]);
}

template <bool right>
__global__ void ldmatrix_anywhere_kernel(const int* x, int* y) {
  SHARED(tile, int[4]);
  if (threadIdx.x < 4) tile[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  unsigned r[4];
  gpu::ldmatrix_x4(r, right ? tile : x);
  y[threadIdx.x] = static_cast<int>(r[0]);
}

__global__ void static_shared_kernel(int* y) {
  SHARED(tile, int[13000]);
  tile[threadIdx.x] = 1;
  y[0] = tile[0];
}

__global__ void dynamic_shared_kernel(int* y) {
  DYNAMIC_SHARED(int, tile);
  if (threadIdx.x) return;
  tile[0] = 1;
  y[0] = tile[0];
}

}  // namespace

TEST_CASE("accesses outside are found where the kernel is watched", "[simt][faults]") {
  if (!simt::watch::on()) return;
  CHECK_FINDS(FaultKind::bounds, global_read_kernel, 1, 64);
  CHECK_FINDS(FaultKind::bounds, shared_read_kernel, 1, 32);
  int host = 7;
  Buffer<int> y(1);
  run<copy_kernel>({1, 1}, &host, y.data());
  CHECK(found(FaultKind::bounds));
}

TEST_CASE("kernels read the program's constants, and neither read nor write the host's variables",
          "[simt][faults]") {
  if (!simt::watch::on()) return;
  Buffer<int> y(4);
  run<table_kernel>({1, 4}, y.data());
  run<read_through_kernel>({1, 4}, kTableOfPrimes, y.data());
  CHECK(y[3] == 7);
  CHECK(simt::take_faults().empty());
  run<write_to_host_kernel>({1, 1}, 8);
  CHECK(found(FaultKind::bounds));
  run<read_of_host_kernel>({1, 1}, y.data());
  CHECK(found(FaultKind::bounds));
}

TEST_CASE("an access to an address that is no multiple of its size is found and ends the kernel",
          "[simt][faults]") {
  if (!simt::watch::on()) return;
  Buffer<int> x(4);
  Buffer<int2> y(1);
  for (int i = 0; i < 4; ++i) x[i] = i;
  run<pair_kernel>({1, 1}, 2, x.data(), y.data());
  CHECK(simt::take_faults().empty());
  CHECK(y[0].x == 2);
  gpu::launch<pair_kernel>({1, 1}, 1, x.data(), y.data());
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(found(FaultKind::alignment));
  CHECK(y[0].x == 2);
}

TEST_CASE("reading what nothing has written is found", "[simt][faults]") {
  if (!simt::watch::on()) return;
  CHECK_FINDS(FaultKind::uninitialised, unwritten_shared_kernel, 1, 32);
  int *x = nullptr, *y = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&x), sizeof *x);
  cudaMalloc(reinterpret_cast<void**>(&y), sizeof *y);
  run<copy_kernel>({1, 1}, x, y);
  CHECK(found(FaultKind::uninitialised));
  cudaMemset(x, 0, sizeof *x);
  run<copy_kernel>({1, 1}, x, y);
  CHECK_FALSE(found(FaultKind::uninitialised));
  cudaFree(x);
  cudaFree(y);
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("AddressSanitizer guards both ends of device memory", "[simt][faults]") {
  Buffer<int> x(5);
  CHECK_FALSE(__asan_address_is_poisoned(x.data() + 4));
  CHECK(__asan_address_is_poisoned(x.data() + 5));
  CHECK(__asan_address_is_poisoned(x.data() - 1));
}
#else  // it would stop at them
TEST_CASE("writes outside are found by red zones", "[simt][faults]") {
  CHECK_FINDS(FaultKind::bounds, global_write_kernel, 1, 64);
  CHECK_FINDS(FaultKind::bounds, shared_write_kernel, 1, 32);
}

TEST_CASE("shared memory is NaN when a block begins", "[simt][faults]") {
  if (simt::watch::on()) return;  // where it is an error to look
  Buffer<int> x(64), y(64);
  run<unwritten_shared_kernel<false>>({2, 32}, x.data(), y.data());
  CHECK(y[0] == -1);
}
#endif

TEST_CASE("collectives among the wrong lanes are found", "[simt][faults]") {
  CHECK_FINDS(FaultKind::collective, lane_outside_mask_kernel, 1, 32);
  CHECK_FINDS(FaultKind::collective, left_lane_kernel, 1, 32);
  CHECK_FINDS(FaultKind::collective, different_collectives_kernel, 1, 32);
  CHECK_FINDS(FaultKind::collective, left_mma_kernel, 1, 32);
}

TEST_CASE("lanes that run a matrix instruction at different places are found", "[simt][faults]") {
  if (!simt::watch::on()) return;  // where places are known
  CHECK_FINDS(FaultKind::collective, parted_mma_kernel, 1, 32);
  CHECK_FINDS(FaultKind::collective, parted_ldmatrix_kernel, 1, 32);
  Buffer<int> y(32);
  run<looping_mma_kernel>({1, 32}, y.data());
  CHECK(simt::take_faults().empty());
}

TEST_CASE("ldmatrix of what is no shared memory is found", "[simt][faults]") {
  CHECK_FINDS(FaultKind::bounds, ldmatrix_anywhere_kernel, 1, 32);
}

TEST_CASE("barriers that not all threads reach together are found", "[simt][faults]") {
  CHECK_FINDS(FaultKind::barrier, different_barriers_kernel, 1, 64);
}

TEST_CASE("a lane that is not in its own mask is found", "[simt][faults]") {
  Buffer<int> x(32), y(32);
  run<not_in_own_mask_kernel<false>>({1, 32}, x.data(), y.data());
  CHECK_FALSE(simt::take_faults().empty());
  run<not_in_own_mask_kernel<true>>({1, 32}, x.data(), y.data());
  CHECK(simt::take_faults().empty());
}

TEST_CASE("a deadlock ends the kernel and tells who waits where", "[simt][faults]") {
  Buffer<int> x(64), y(64);
  gpu::launch<deadlock_kernel<false>>({1, 64}, x.data(), y.data());
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  const std::vector<simt::Fault> faults = simt::take_faults();
  REQUIRE(faults.size() == 1);
  INFO(faults[0].message);
  CHECK(faults[0].message.find("threads 0-4 wait in __shfl_sync with mask ffffffff at faults_test.cu:") !=
        std::string::npos);
  CHECK(faults[0].message.find("threads 5-5 wait at the block barrier at faults_test.cu:") !=
        std::string::npos);
  CHECK(faults[0].message.find("threads 32-63 have left the kernel") != std::string::npos);
  run<deadlock_kernel<true>>({1, 64}, x.data(), y.data());  // all is well afterwards
  CHECK(simt::take_faults().empty());
}

TEST_CASE("launches that no GPU would take throw and name the kernel", "[simt][faults]") {
  Buffer<int> y(1);
  const auto refused = [&](const gpu::LaunchConfig& config) {
    bool thrown = false;
    try {
      gpu::launch<dynamic_shared_kernel>(config, y.data());
    } catch (const Error& e) {
      thrown = e.kind() == ErrorKind::runtime &&
               std::string(e.what()) == "dynamic_shared_kernel: invalid configuration argument";
    }
    return thrown && found(FaultKind::launch);
  };
  CHECK(refused({1, 1025}));
  CHECK(refused({1, dim3(1, 1, 65)}));
  CHECK(refused({dim3(1, 65536), 1}));
  CHECK(refused({1, 1, (64 << 10) + 1}));
  run<dynamic_shared_kernel>({1, 1024, 64 << 10}, y.data());
  CHECK_FALSE(found(FaultKind::launch));
}

TEST_CASE("what a launch is told of is an earlier kernel's fault, a defect, or lack of memory",
          "[simt][faults]") {
  const auto told = [](cudaError_t status, ErrorKind kind, const std::string& start) {
    try {
      gpu::launch_failed("some_kernel", status);
    } catch (const Error& e) {
      return e.kind() == kind && std::string_view(e.what()).starts_with(start);
    }
    return false;
  };
  CHECK(told(cudaErrorIllegalAddress, ErrorKind::runtime, "before some_kernel: "));
  CHECK(told(cudaErrorInvalidConfiguration, ErrorKind::runtime, "some_kernel: "));
  CHECK(told(cudaErrorMemoryAllocation, ErrorKind::resource, "some_kernel: "));
}

TEST_CASE("more static shared memory than a block gets is found", "[simt][faults]") {
  Buffer<int> y(1);
  run<static_shared_kernel>({1, 1}, y.data());
  CHECK(found(FaultKind::launch));
}

}  // namespace moe::test
