// What the executor's part of cooperative groups does, under every schedule.

#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>

#include "kernels/gpu.h"
#include "tests/catch.h"
#include "tests/simt/kernel_run.h"

namespace moe::test {
namespace {

namespace cg = cooperative_groups;

// The block's values in reverse order.
__global__ void block_kernel(int* y) {
  SHARED(tile, int[64]);
  const cg::thread_block block = cg::this_thread_block();
  tile[block.thread_rank()] = static_cast<int>(10 * block.group_index().x + block.thread_index().y);
  block.sync();
  y[block.group_index().x * block.size() + block.thread_rank()] =
      tile[block.num_threads() - 1 - block.thread_rank()];
}

struct TileResults {
  int sum, least, most, above, below, first, any, all;
  unsigned ballot, match, rank, tile, tiles;
  bool operator==(const TileResults&) const = default;
};

template <unsigned Size>
__global__ void tile_kernel(const int* x, TileResults* y) {
  const cg::thread_block block = cg::this_thread_block();
  const auto tile = cg::tiled_partition<Size>(block);
  const int value = x[block.thread_rank()];
  TileResults& r = y[block.thread_rank()];
  r.sum = cg::reduce(tile, value, cg::plus<int>());
  r.least = cg::reduce(tile, value, cg::less<int>());
  r.most = cg::reduce(tile, value, cg::greater<int>());
  r.above = tile.shfl_down(value, 1);
  r.below = tile.shfl_up(value, 1);
  r.first = tile.shfl(value, 0);
  r.any = tile.any(value == 3) != 0;
  r.all = tile.all(value >= 0) != 0;
  r.ballot = tile.ballot(value % 2);
  r.match = tile.match_any(value);
  r.rank = tile.thread_rank();
  r.tile = tile.meta_group_rank();
  r.tiles = tile.meta_group_size();
}

// The tile that a thread of that rank is in, by plain loops.
TileResults expected(unsigned size, unsigned threads, const Buffer<int>& x, unsigned thread) {
  const unsigned first = thread / size * size, rank = thread - first;
  TileResults r{.least = x[first],
                .most = x[first],
                .above = x[thread],
                .below = x[thread],
                .first = x[first],
                .any = 0,
                .all = 1,
                .rank = rank,
                .tile = thread / size,
                .tiles = threads / size};
  for (unsigned i = 0; i < size; ++i) {
    const int value = x[first + i];
    r.sum += value;
    r.least = std::min(r.least, value);
    r.most = std::max(r.most, value);
    r.any |= value == 3;
    r.all &= value >= 0;
    r.ballot |= unsigned(value % 2) << i;
    r.match |= unsigned(value == x[thread]) << i;
  }
  if (rank + 1 < size) r.above = x[thread + 1];
  if (rank > 0) r.below = x[thread - 1];
  return r;
}

template <unsigned Size>
void check_tiles() {
  constexpr unsigned kThreads = 96;
  Buffer<int> x(kThreads);
  Buffer<TileResults> y(kThreads);
  for (unsigned i = 0; i < kThreads; ++i) x[i] = static_cast<int>(i * i % 11);
  run<tile_kernel<Size>>({1, kThreads}, x.data(), y.data());
  for (unsigned i = 0; i < kThreads; ++i) {
    INFO("tiles of " << Size << ", thread " << i);
    CHECK((y[i] == expected(Size, kThreads, x, i)));
  }
}

// Tiles of a warp that go different ways, each with collectives of its own; a tile's sync lets its threads
// see what others of it wrote.
__global__ void ways_kernel(int* y) {
  SHARED(values, int[32]);
  const auto warp = cg::tiled_partition<32>(cg::this_thread_block());
  const auto tile = cg::tiled_partition<8>(warp);
  const unsigned i = warp.thread_rank();
  values[i] = static_cast<int>(i);
  if (tile.meta_group_rank() % 2) {
    cg::sync(tile);
    y[i] = values[i ^ 7u];
  } else {
    y[i] = cg::reduce(tile, static_cast<int>(i), cg::plus<int>());
  }
}

}  // namespace

TEST_CASE("a block is a group of its threads in the order of their ranks", "[simt]") {
  under_all_schedules(4, [] {
    Buffer<int> y(128);
    run<block_kernel>({2, dim3(8, 8)}, y.data());
    for (int b = 0; b < 2; ++b)
      for (int i = 0; i < 64; ++i) CHECK(y[64 * b + i] == 10 * b + (63 - i) / 8);
  });
}

TEST_CASE("tiles of every size exchange among their own threads", "[simt]") {
  under_all_schedules(4, [] {
    check_tiles<1>();
    check_tiles<2>();
    check_tiles<4>();
    check_tiles<8>();
    check_tiles<16>();
    check_tiles<32>();
  });
}

TEST_CASE("tiles of one warp go different ways", "[simt]") {
  under_all_schedules(4, [] {
    Buffer<int> y(32);
    run<ways_kernel>({1, 32}, y.data());
    for (int i = 0; i < 32; ++i) CHECK(y[i] == (i / 8 % 2 ? i / 8 * 8 + 7 - i % 8 : 8 * (i / 8 * 8) + 28));
  });
}

}  // namespace moe::test
