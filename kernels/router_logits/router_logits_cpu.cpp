// Matrix products; gemm says which task owns what. What is independent runs in one parallel region.

#include <algorithm>

#include "core/parallel.h"
#include "kernels/linear/products.h"
#include "kernels/router_logits/router_logits.h"

namespace moe::kernels::cpu {
namespace {

LinearShape linear_shape(const RouterLogitsShape& s) {
  return {s.tokens, s.dim, s.experts};
}

}  // namespace

template <class T>
void router_logits_forward(RouterLogitsShape s, const T* x, const RouterWeights<T>& w, T* logits,
                           T* noise_logits) {
  const Gemm<T> products[2] = {linear_product(linear_shape(s), x, w.weight[0], w.bias[0], logits),
                               linear_product(linear_shape(s), x, w.weight[1], w.bias[1], noise_logits)};
  gemm<T>(std::span(products, static_cast<size_t>(s.count)));
}

template <class T>
void router_logits_backward(RouterLogitsShape s, const T* x, const RouterWeights<T>& w,
                            const RouterGradients<T>& g) {
  const int64_t parts = (s.experts + kEpilogueColumns - 1) / kEpilogueColumns;
  parallel_for(s.count * parts, [&](int64_t task) {
    const int64_t i = task / parts;
    if (g.dlogits[i] && g.dbias[i])
      epilogue_gradient<Epilogue::none, T>(s.tokens, s.experts, task % parts * kEpilogueColumns, nullptr,
                                           g.dlogits[i], nullptr, g.dbias[i]);
  });
  // Both add to dx, one after the other.
  thread_local std::vector<Gemm<T>> products;
  for (int i = s.count - 1; i >= 0; --i) {
    products.clear();
    if (g.dlogits[i])
      add_linear_gradients(linear_shape(s), x, w.weight[i], g.dlogits[i], Into<T>(g.dx),
                           Into<T>(g.dweight[i]), nullptr, products);
    gemm<T>(products);
  }
}

template void router_logits_forward(RouterLogitsShape, const float*, const RouterWeights<float>&, float*,
                                    float*);
template void router_logits_forward(RouterLogitsShape, const double*, const RouterWeights<double>&, double*,
                                    double*);
template void router_logits_backward(RouterLogitsShape, const float*, const RouterWeights<float>&,
                                     const RouterGradients<float>&);
template void router_logits_backward(RouterLogitsShape, const double*, const RouterWeights<double>&,
                                     const RouterGradients<double>&);

}  // namespace moe::kernels::cpu
