// Small products are made by the kernels of grouped_linear, as the only expert: bias and all gradients in one
// launch each way. Others by cuBLAS; the bias is then added to y behind it, and its gradient summed by
// column_sums.cuh.

#include "kernels/add_bias/add_bias.h"
#include "kernels/column_sums.cuh"
#include "kernels/gemm/gemm_cuda.h"
#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/linear/linear.h"

namespace moe::kernels::cuda {
namespace {

// A product of so few operations takes less time than the launches around it. Rows are the inner dimension of
// dweight, which one block walks through.
bool is_small(const LinearShape& s) {
  return s.rows <= 1024 && 2 * s.rows * s.in * s.out <= int64_t{1} << 27;
}

GroupedLinearShape as_group(const LinearShape& s) {
  return {.rows = s.rows, .in = s.in, .out = s.out, .experts = 1};
}

}  // namespace

void linear_forward(LinearShape s, const float* x, const float* weight, const float* bias, float* y,
                    Stream stream) {
  if (is_small(s))
    return grouped_linear_forward(as_group(s), {}, x, weight, bias, nullptr, nullptr, y, stream);
  gemm(s.rows, s.out, s.in, {x, s.in}, {weight, s.in, true}, false, y, stream);
  if (bias) add_bias_forward({s.rows, s.out}, y, bias, y, stream);
}

void linear_backward(LinearShape s, const float* x, const float* weight, const float* dy, Into<float> dx,
                     Into<float> dweight, float* dbias, double* squares, Stream stream) {
  if (is_small(s))
    return grouped_linear_backward(as_group(s), {}, {x, weight, nullptr, dy, dx, dweight, dbias}, nullptr,
                                   nullptr, nullptr, squares, stream);
  if (dx) gemm(s.rows, s.in, s.out, {dy, s.out}, {weight, s.in}, dx.add, dx.to, stream);
  if (dweight) gemm(s.out, s.in, s.rows, {dy, s.out, true}, {x, s.in}, dweight.add, dweight.to, stream);
  if (dbias) add_column_sums(s.rows, s.out, rows_of(dy, s.out), dbias, stream);
}

}  // namespace moe::kernels::cuda
