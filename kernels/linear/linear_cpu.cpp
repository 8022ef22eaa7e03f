// Matrix products alone; gemm says which task owns what. The products of a backward pass are independent of
// each other and run in one parallel region.

#include "kernels/linear/linear.h"
#include "kernels/linear/products.h"

namespace moe::kernels::cpu {

template <class T>
void linear_forward(LinearShape shape, const T* x, const T* weight, const T* bias, T* y) {
  gemm(linear_product(shape, x, weight, bias, y));
}

template <class T>
void linear_backward(LinearShape shape, const T* x, const T* weight, const T* dy, T* dx, T* dweight,
                     T* dbias) {
  thread_local std::vector<Gemm<T>> products;
  products.clear();
  add_linear_gradients(shape, x, weight, dy, dx, dweight, dbias, products);
  gemm<T>(products);
}

template void linear_forward(LinearShape, const float*, const float*, const float*, float*);
template void linear_forward(LinearShape, const double*, const double*, const double*, double*);
template void linear_backward(LinearShape, const float*, const float*, const float*, float*, float*, float*);
template void linear_backward(LinearShape, const double*, const double*, const double*, double*, double*,
                              double*);

}  // namespace moe::kernels::cpu
