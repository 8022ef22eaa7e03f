// A block owns 4096 elements of one segment; every array is read and written once.

#include <cmath>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "kernels/segments.cuh"
#include "kernels/vectors.cuh"

namespace moe::kernels::cuda {
namespace {

// What all segments share, and a segment with what its number of updates makes of the learning rate.
struct Factors {
  float scale, keep, beta1, rest1, beta2, rest2, eps;
};
struct Segment {
  float *value, *grad, *m, *v;
  int64_t n;
  float rate, inverse_root;
};

Segment segment_of(const AdamWOptions& o, const AdamWSegment<float>& s) {
  const double step = static_cast<double>(s.step);
  return {s.value,
          s.grad,
          s.m,
          s.v,
          s.n,
          static_cast<float>(o.lr / (1 - std::pow(o.beta1, step))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(o.beta2, step)))};
}

__global__ void __launch_bounds__(kSegmentThreads) adamw_kernel(SegmentTable<Segment> table, Factors f) {
  const SegmentBlock<Segment> block = segment_block(table);
  const Segment& s = block.segment;
  const bool vectors = in_vectors(0, s.value, s.grad, s.m, s.v);
  for (int64_t i = block.begin + 4 * threadIdx.x; i < block.end; i += 4 * kSegmentThreads) {
    const int64_t left = block.end - i;
    float value[4], grad[4], m[4], v[4];
    load4(s.value + i, left, vectors, value);
    load4(s.grad + i, left, vectors, grad);
    load4(s.m + i, left, vectors, m);
    load4(s.v + i, left, vectors, v);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float g = f.scale * grad[j];
      m[j] = f.beta1 * m[j] + f.rest1 * g;
      v[j] = f.beta2 * v[j] + f.rest2 * (g * g);
      value[j] = f.keep * value[j] - s.rate * m[j] / (sqrtf(v[j]) * s.inverse_root + f.eps);
      grad[j] = 0;
    }
    store4(s.value + i, left, vectors, value);
    store4(s.grad + i, left, vectors, grad);
    store4(s.m + i, left, vectors, m);
    store4(s.v + i, left, vectors, v);
  }
}

}  // namespace

void adamw(const AdamWOptions& o, std::span<const AdamWSegment<float>> segments, Stream stream) {
  thread_local std::vector<Segment> all;
  all.clear();
  for (const AdamWSegment<float>& s : segments) all.push_back(segment_of(o, s));
  const Factors f{static_cast<float>(o.grad_scale), static_cast<float>(1 - o.lr * o.weight_decay),
                  static_cast<float>(o.beta1),      static_cast<float>(1 - o.beta1),
                  static_cast<float>(o.beta2),      static_cast<float>(1 - o.beta2),
                  static_cast<float>(o.eps)};
  const SegmentTable<Segment> table = upload_segments<Segment>(all, stream);
  gpu::launch<adamw_kernel>({table.blocks, kSegmentThreads, 0, stream}, table, f);
}

}  // namespace moe::kernels::cuda
