// A stable counting sort. The assignments are cut into runs of up to 8192, whose expert ids are read once
// into shared memory. Within a run a warp takes one expert after the other and looks through all of the run,
// 32 assignments at a time: a ballot says which of them are its expert's, and a lane's rank is the number of
// such lanes before it. So ranks come out in order, for any number of experts.
//
// One run: one launch of one block, whose phases a barrier separates. More runs: three launches, of which the
// middle one turns the runs' counts into where each run begins within its expert.
//
// A warp owns, for its run and expert, the elements of row and of assignment that belong to it.

#include "kernels/dispatch_plan/dispatch_plan.h"
#include "kernels/grid.cuh"
#include "kernels/reduce.cuh"
#include "kernels/scratch.cuh"

namespace moe::kernels::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / kWarp;
constexpr int64_t kRun = 8192;
// A lane reads so many assignments before it looks at the first, and so its warp.
constexpr int kBatch = 8, kWarpBatch = kBatch * kWarp;

// The ids of a run; behind the last -1, as far as a batch goes.
using Ids = int32_t[kRun];

struct Plan {
  DispatchShape s;
  int64_t R;  // assignments
  const int32_t* expert;
  int32_t *offsets, *assignment, *row, *count;

  __device__ int64_t end_of(int64_t run) const { return (run + 1) * kRun < R ? (run + 1) * kRun : R; }
  // All threads of the block must call.
  __device__ void read(int64_t run, Ids& ids) const {
    const int64_t begin = run * kRun;
    const int size = static_cast<int>(end_of(run) - begin);
    for (int i = static_cast<int>(threadIdx.x); i < (size + kWarpBatch - 1) / kWarpBatch * kWarpBatch;
         i += kThreads)
      ids[i] = i < size ? expert[begin + i] : -1;
    __syncthreads();
  }
  // found(base, lanes) for every 32 assignments of the run, in order: the lanes whose assignment base + lane
  // has expert e. All lanes of the warp must call.
  template <class Found>
  __device__ void each_of(const Ids& ids, int64_t run, int64_t e, Found found) const {
    const int size = static_cast<int>(end_of(run) - run * kRun);
    for (int base = 0; base < size; base += kWarpBatch) {
      bool mine[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
        mine[i] = ids[base + i * kWarp + static_cast<int>(threadIdx.x) % kWarp] == e;
#pragma unroll
      for (int i = 0; i < kBatch; ++i) found(run * kRun + base + i * kWarp, __ballot_sync(~0u, mine[i]));
    }
  }
};

// counts[e] = assignments of the run with expert e.
__device__ void count_run(const Plan& p, const Ids& ids, int64_t run, int32_t* counts) {
  for (int64_t e = threadIdx.x / kWarp; e < p.s.experts; e += kWarps) {
    int32_t sum = 0;
    p.each_of(ids, run, e, [&](int64_t, unsigned lanes) { sum += __popc(lanes); });
    if (threadIdx.x % kWarp == 0) counts[e] = sum;
  }
}

// offsets from count, by the first warp: a lane takes an expert.
__device__ void set_offsets(const Plan& p) {
  if (threadIdx.x >= kWarp) return;
  if (threadIdx.x == 0) p.offsets[0] = 0;
  int32_t before = 0;
  for (int64_t base = 0; base < p.s.experts; base += kWarp) {
    const int64_t e = base + threadIdx.x;
    const int32_t all = e < p.s.experts ? p.count[e] : 0;
    const int32_t until =
        before +
        sum_until_lane(p.s.capacity >= 0 && p.s.capacity < all ? static_cast<int32_t>(p.s.capacity) : all);
    if (e < p.s.experts) p.offsets[e + 1] = until;
    before = __shfl_sync(~0u, until, kWarp - 1);
  }
}

// before[e]: how many assignments of earlier runs have expert e; nullptr: none.
__device__ void place_run(const Plan& p, const Ids& ids, int64_t run, const int32_t* before) {
  const int lane = threadIdx.x % kWarp;
  const int64_t begin = run * kRun, end = p.end_of(run);
  for (int64_t e = threadIdx.x / kWarp; e < p.s.experts; e += kWarps) {
    const int32_t last = p.offsets[e + 1];
    int32_t next = p.offsets[e] + (before ? before[e] : 0);
    p.each_of(ids, run, e, [&](int64_t base, unsigned lanes) {
      if (lanes >> lane & 1) {
        const int32_t r = next + __popc(lanes & ((1u << lane) - 1));
        p.row[base + lane] = r < last ? r : -1;
        if (r < last) p.assignment[r] = static_cast<int32_t>(base + lane);
      }
      next += __popc(lanes);
    });
  }
  // What no warp has claimed: rows behind the last expert's, and assignments of experts that do not exist.
  const int32_t kept = p.offsets[p.s.experts];
  for (int64_t a = begin + threadIdx.x; a < end; a += kThreads) {
    if (a >= kept) p.assignment[a] = -1;
    const int32_t e = ids[a - begin];
    if (e < 0 || e >= p.s.experts) p.row[a] = -1;
  }
}

__global__ void __launch_bounds__(kThreads) plan_one_run_kernel(Plan p) {
  SHARED(ids, Ids);
  p.read(0, ids);
  count_run(p, ids, 0, p.count);
  __syncthreads();
  set_offsets(p);
  __syncthreads();
  place_run(p, ids, 0, nullptr);
}

// counts [runs, E]
__global__ void __launch_bounds__(kThreads) plan_count_kernel(Plan p, int32_t* counts) {
  SHARED(ids, Ids);
  p.read(blockIdx.x, ids);
  count_run(p, ids, blockIdx.x, counts + blockIdx.x * p.s.experts);
}

// One block. A thread owns an expert: counts [runs, E] become what earlier runs have.
__global__ void __launch_bounds__(kThreads) plan_scan_kernel(Plan p, int64_t runs, int32_t* counts) {
  for (int64_t e = threadIdx.x; e < p.s.experts; e += kThreads) {
    int32_t sum = 0;
    for (int64_t run = 0; run < runs; ++run) {
      const int32_t here = counts[run * p.s.experts + e];
      counts[run * p.s.experts + e] = sum;
      sum += here;
    }
    p.count[e] = sum;
  }
  __syncthreads();
  set_offsets(p);
}

__global__ void __launch_bounds__(kThreads) plan_place_kernel(Plan p, const int32_t* before) {
  SHARED(ids, Ids);
  p.read(blockIdx.x, ids);
  place_run(p, ids, blockIdx.x, before + blockIdx.x * p.s.experts);
}

}  // namespace

void dispatch_plan(DispatchShape s, const int32_t* expert, int32_t* offsets, int32_t* assignment,
                   int32_t* row, int32_t* count, Stream stream) {
  const Plan p{s, s.tokens * s.topk, expert, offsets, assignment, row, count};
  if (p.R <= kRun) {  // without assignments too: offsets and count are zeros
    gpu::launch<plan_one_run_kernel>({1, kThreads, 0, stream}, p);
    return;
  }
  const unsigned runs = blocks_for(p.R, kRun);
  int32_t* const counts = scratch<int32_t>(runs * s.experts, stream);
  gpu::launch<plan_count_kernel>({runs, kThreads, 0, stream}, p, counts);
  gpu::launch<plan_scan_kernel>({1, kThreads, 0, stream}, p, int64_t{runs}, counts);
  gpu::launch<plan_place_kernel>({runs, kThreads, 0, stream}, p, counts);
}

}  // namespace moe::kernels::cuda
