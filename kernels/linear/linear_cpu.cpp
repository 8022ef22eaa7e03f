// Matrix products; gemm says which task owns what. The products of a backward pass are independent of each
// other and run in one parallel region. A task of dbias owns some columns.

#include "core/parallel.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/products.h"

namespace moe::kernels::cpu {

template <class T>
void linear_forward(LinearShape shape, const T* x, const T* weight, const T* bias, T* y) {
  gemm(linear_product(shape, x, weight, bias, y));
}

template <class T>
void linear_backward(LinearShape shape, const T* x, const T* weight, const T* dy, Into<T> dx, Into<T> dweight,
                     T* dbias, double* squares) {
  if (dbias)
    parallel_for((shape.out + kEpilogueColumns - 1) / kEpilogueColumns, [&](int64_t part) {
      epilogue_gradient<Epilogue::none, T>(shape.rows, shape.out, part * kEpilogueColumns, nullptr, dy,
                                           nullptr, dbias);
    });
  thread_local std::vector<Gemm<T>> products;
  products.clear();
  if (squares) *squares = 0;
  add_linear_gradients(shape, x, weight, dy, dx, dweight, squares, products);
  gemm<T>(products);
}

template void linear_forward(LinearShape, const float*, const float*, const float*, float*);
template void linear_forward(LinearShape, const double*, const double*, const double*, double*);
template void linear_backward(LinearShape, const float*, const float*, const float*, Into<float>, Into<float>,
                              float*, double*);
template void linear_backward(LinearShape, const double*, const double*, const double*, Into<double>,
                              Into<double>, double*, double*);

}  // namespace moe::kernels::cpu
