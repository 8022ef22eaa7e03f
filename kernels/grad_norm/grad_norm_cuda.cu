// A block owns 4096 elements of one segment and their sum of squares, in double; one last block adds up the
// blocks'. Every element is read once.

#include "kernels/grad_norm/grad_norm.h"
#include "kernels/reduce.cuh"
#include "kernels/scratch.cuh"
#include "kernels/segments.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

using Segment = GradSegment<float>;

__global__ void __launch_bounds__(kSegmentThreads)
    sum_of_squares_kernel(SegmentTable<Segment> table, double* partial) {
  const SegmentBlock<Segment> block = segment_block(table);
  const bool vectors = in_vectors(0, block.segment.grad);
  double sum = 0;
  for (int64_t i = block.begin + 4 * threadIdx.x; i < block.end; i += 4 * kSegmentThreads) {
    float g[4];
    load4(block.segment.grad + i, block.end - i, vectors, g);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(g[j]) * static_cast<double>(g[j]);
  }
  sum = block_sum<kSegmentThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block.
__global__ void __launch_bounds__(kSegmentThreads)
    root_of_sum_kernel(int64_t blocks, const double* partial, double* norm) {
  double sum = 0;
  for (int64_t b = threadIdx.x; b < blocks; b += kSegmentThreads) sum += partial[b];
  sum = block_sum<kSegmentThreads>(sum);
  if (threadIdx.x == 0) *norm = sqrt(sum);
}

}  // namespace

void grad_norm(const Gradients<float>& gradients, double* norm, Stream stream) {
  const int64_t blocks = gradients.table.blocks;
  double* const partial = scratch<double>(blocks, stream);
  gpu::launch<sum_of_squares_kernel>({static_cast<unsigned>(blocks), kSegmentThreads, 0, stream},
                                     gradients.table, partial);
  gpu::launch<root_of_sum_kernel>({1, kSegmentThreads, 0, stream}, blocks, partial, norm);
}

}  // namespace moe::kernels::cuda
