// Matrix products; gemm says which task owns what. All products of all experts run in one parallel region, so
// that experts with many rows and experts with few share the threads. A task of what precedes the products in
// backward owns some columns of one expert.

#include <algorithm>

#include "core/parallel.h"
#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/linear/products.h"

namespace moe::kernels::cpu {
namespace {

template <class T>
T* at(T* p, int64_t offset) {
  return p ? p + offset : nullptr;
}

}  // namespace

template <class T>
void grouped_linear_forward(GroupedLinearShape shape, const int32_t* offsets, const T* x, const T* weight,
                            const T* bias, T* y) {
  const auto [rows, in, out, experts, relu] = shape;
  thread_local std::vector<Gemm<T>> products;
  products.clear();
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t first = offsets[e], count = offsets[e + 1] - first;
    if (count == 0) continue;
    products.push_back(linear_product({count, in, out}, at(x, first * in), at(weight, e * out * in),
                                      at(bias, e * out), at(y, first * out)));
    products.back().relu = relu;
  }
  gemm<T>(products);
  std::fill(at(y, offsets[experts] * out), at(y, rows * out), T(0));
}

template <class T>
void grouped_linear_backward(GroupedLinearShape shape, const int32_t* offsets, const T* x, const T* weight,
                             const T* y, const T* dy, T* dh, T* dx, T* dweight, T* dbias) {
  const auto [rows, in, out, experts, relu] = shape;
  const int64_t parts = (out + kEpilogueColumns - 1) / kEpilogueColumns;
  if (relu || dbias)
    parallel_for(experts * parts, [=, out = shape.out, relu = shape.relu](int64_t task) {
      const int64_t e = task / parts, first = offsets[e], count = offsets[e + 1] - first;
      const auto& gradient = relu ? epilogue_gradient<true, T> : epilogue_gradient<false, T>;
      gradient(count, out, task % parts * kEpilogueColumns, at(y, first * out), at(dy, first * out),
               at(dh, first * out), at(dbias, e * out));
    });
  const T* const gradient = relu ? dh : dy;
  thread_local std::vector<Gemm<T>> products;
  products.clear();
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t first = offsets[e], count = offsets[e + 1] - first;
    if (count == 0) continue;
    add_linear_gradients({count, in, out}, at(x, first * in), at(weight, e * out * in),
                         at(gradient, first * out), at(dx, first * in), at(dweight, e * out * in), products);
  }
  gemm<T>(products);
}

template void grouped_linear_forward(GroupedLinearShape, const int32_t*, const float*, const float*,
                                     const float*, float*);
template void grouped_linear_forward(GroupedLinearShape, const int32_t*, const double*, const double*,
                                     const double*, double*);
template void grouped_linear_backward(GroupedLinearShape, const int32_t*, const float*, const float*,
                                      const float*, const float*, float*, float*, float*, float*);
template void grouped_linear_backward(GroupedLinearShape, const int32_t*, const double*, const double*,
                                      const double*, const double*, double*, double*, double*, double*);

}  // namespace moe::kernels::cpu
