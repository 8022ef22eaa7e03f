// Matrix products by cuBLAS; the bias is added to y behind it, and its gradient summed by column_sums.cuh.

#include "kernels/add_bias/add_bias.h"
#include "kernels/column_sums.cuh"
#include "kernels/gemm/gemm_cuda.h"
#include "kernels/linear/linear.h"

namespace moe::kernels::cuda {

void linear_forward(LinearShape s, const float* x, const float* weight, const float* bias, float* y,
                    Stream stream) {
  gemm(s.rows, s.out, s.in, {x, s.in}, {weight, s.in, true}, false, y, stream);
  if (bias) add_bias_forward({s.rows, s.out}, y, bias, y, stream);
}

void linear_backward(LinearShape s, const float* x, const float* weight, const float* dy, float* dx,
                     float* dweight, float* dbias, Stream stream) {
  if (dx) gemm(s.rows, s.in, s.out, {dy, s.out}, {weight, s.in}, true, dx, stream);
  if (dweight) gemm(s.out, s.in, s.rows, {dy, s.out, true}, {x, s.in}, true, dweight, stream);
  if (dbias) add_column_sums(s.rows, s.out, rows_of(dy, s.out), dbias, stream);
}

}  // namespace moe::kernels::cuda
