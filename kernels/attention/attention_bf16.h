#pragma once
// Attention on tensor cores in bf16, for attention_cuda.cu and attention_backward_cuda.cu, which take it when
// the precision is bf16. What attention.h says, with these products of operands rounded to bf16: q k, w v,
// w dy, dy v, ds k and ds q. Scores, softmax, every sum and all that lies in memory are single precision.

#include "kernels/attention/attention.h"

namespace moe::kernels::cuda {

// keys [B, key_rows, 3C]: whose rows are positions, the cache or qkv.
void attention_forward_bf16(const AttentionShape&, const float* qkv, const float* keys, int64_t key_rows,
                            float* y, float* lse, Stream);
void attention_backward_bf16(const AttentionShape&, const float* qkv, const float* y, const float* lse,
                             const float* dy, Into<float> dqkv, Stream);

}  // namespace moe::kernels::cuda
