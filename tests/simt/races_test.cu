// Does the race detector find races, and nothing where accesses are ordered?

#include <cooperative_groups.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/gpu.h"
#include "tests/catch.h"
#include "tests/simt/find_faults.h"

namespace moe::test {
namespace {

template <bool right>
__global__ void read_after_write_kernel(const int* x, int* y) {
  SHARED(tile, int[64]);
  tile[threadIdx.x] = x[threadIdx.x];
  if (right) __syncthreads();
  y[threadIdx.x] = tile[63 - threadIdx.x];
}

template <bool right>
__global__ void write_after_read_kernel(const int* x, int* y) {
  SHARED(tile, int[1]);
  for (int i = 0; i < 3; ++i) {
    if (threadIdx.x == 0) tile[0] = x[i];
    __syncthreads();
    y[threadIdx.x] = tile[0];
    if (right) __syncthreads();
  }
}

template <bool right>
__global__ void lost_update_kernel(const int*, int* y) {
  if (right)
    atomicAdd(y, 1);
  else
    *y += 1;
}

template <bool right>
__global__ void same_value_kernel(const int* x, int* y) {
  if (!right || threadIdx.x == 0) y[0] = x[0];
}

template <bool right>
__global__ void syncwarp_kernel(const int* x, int* y) {
  SHARED(tile, int[32]);
  tile[threadIdx.x] = x[threadIdx.x];
  const int other = __shfl_xor_sync(~0u, x[threadIdx.x], 1);  // which orders nothing
  if (right) __syncwarp();
  y[threadIdx.x] = tile[threadIdx.x ^ 1] + other;
}

// Half a warp waits for itself, and reads what the other half wrote.
template <bool right>
__global__ void half_syncwarp_kernel(const int* x, int* y) {
  SHARED(tile, int[32]);
  tile[threadIdx.x] = x[threadIdx.x];
  __syncwarp(threadIdx.x < 16 ? 0xFFFFu : 0xFFFF0000u);
  y[threadIdx.x] = tile[right ? threadIdx.x ^ 1 : threadIdx.x ^ 16];
}

template <bool right>
__global__ void tile_sync_kernel(const int* x, int* y) {
  SHARED(values, int[32]);
  const auto tile = cooperative_groups::tiled_partition<16>(cooperative_groups::this_thread_block());
  values[threadIdx.x] = x[threadIdx.x];
  const int other = tile.shfl_xor(x[threadIdx.x], 1);  // which orders nothing
  if (right) tile.sync();
  y[threadIdx.x] = values[threadIdx.x ^ 1] + other;
}

// Three lanes read, and the last two wait for each other before one of them writes.
template <bool right>
__global__ void lanes_read_kernel(const int*, int* y) {
  y[1 + threadIdx.x] = y[0];
  if (right)
    __syncwarp();
  else if (threadIdx.x)
    __syncwarp(6u);
  if (threadIdx.x == 1) y[0] = 2;
}

// The first two lanes read, wait for each other and read again with the others, and the last two wait for
// each other before one of them writes.
template <bool right>
__global__ void lanes_read_twice_kernel(const int*, int* y) {
  int sum = y[0];
  if (threadIdx.x < 2) __syncwarp(3u);
  sum += y[0];
  __syncwarp(right ? 15u : threadIdx.x < 2 ? 3u : 12u);
  if (threadIdx.x == 2) y[0] = 2;
  y[1 + threadIdx.x] = sum;
}

// Blocks read, the last one with two warps that wait for each other before one of them writes.
template <bool right>
__global__ void blocks_read_kernel(const int*, int* y) {
  if (threadIdx.x % 32 == 0) y[2 + 2 * blockIdx.x + threadIdx.x / 32] = y[0];
  __syncthreads();
  if (!right && blockIdx.x + 1 == gridDim.x && threadIdx.x == 32) y[0] = 1;
}

template <bool right>
__global__ void between_blocks_kernel(const int*, int* y) {
  y[blockIdx.x] = 1;
  y[32 + blockIdx.x] = y[right ? blockIdx.x : 0];
}

template <bool right>
__global__ void neighbour_bytes_kernel(const int*, int* y) {
  auto* const halves = reinterpret_cast<unsigned short*>(y);
  halves[threadIdx.x] = 1;
  if (!right && threadIdx.x == 7) halves[6] = 2;
}

}  // namespace

TEST_CASE("races are found, ordered accesses are none", "[simt][faults]") {
  if (!simt::watch::on()) return;  // in the other program
  CHECK_FINDS(FaultKind::race, read_after_write_kernel, 1, 64);
  CHECK_FINDS(FaultKind::race, write_after_read_kernel, 1, 64);
  CHECK_FINDS(FaultKind::race, lost_update_kernel, 4, 64);
  CHECK_FINDS(FaultKind::race, same_value_kernel, 1, 64);
  CHECK_FINDS(FaultKind::race, syncwarp_kernel, 1, 32);
  CHECK_FINDS(FaultKind::race, half_syncwarp_kernel, 1, 32);
  CHECK_FINDS(FaultKind::race, tile_sync_kernel, 1, 32);
  CHECK_FINDS(FaultKind::race, lanes_read_kernel, 1, 3);
  CHECK_FINDS(FaultKind::race, lanes_read_twice_kernel, 1, 4);
  CHECK_FINDS(FaultKind::race, blocks_read_kernel, 2, 64);
  CHECK_FINDS(FaultKind::race, between_blocks_kernel, 8, 1);
  CHECK_FINDS(FaultKind::race, neighbour_bytes_kernel, 1, 8);
}

TEST_CASE("a race's report names kernel, places and threads", "[simt][faults]") {
  if (!simt::watch::on()) return;
  Buffer<int> x(64), y(64);
  run<read_after_write_kernel<false>>({1, 64}, x.data(), y.data());
  const std::vector<simt::Fault> faults = simt::take_faults();
  const auto race = std::ranges::find(faults, FaultKind::race, &simt::Fault::kind);
  REQUIRE(race != faults.end());
  const std::string& message = race->message;
  INFO(message);
  CHECK(message.find("read_after_write_kernel<false>, block (0,0,0), thread (") == 0);
  CHECK(message.find("shared memory, are not ordered: block 0 thread ") != std::string::npos);
  CHECK(message.find("write at ") != std::string::npos);
}

}  // namespace moe::test
