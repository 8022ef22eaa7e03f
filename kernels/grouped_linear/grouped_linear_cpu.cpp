// Matrix products; gemm says which task owns what. All products of all experts run in one parallel region, so
// that experts with many rows and experts with few share the threads. A task of what precedes the products in
// backward owns some columns of one expert. Rows are gathered into memory before the products, since they
// are packed several times.

#include <algorithm>
#include <utility>
#include <vector>

#include "core/parallel.h"
#include "kernels/gather/gather.h"
#include "kernels/grouped_linear/grouped_linear.h"
#include "kernels/linear/products.h"

namespace moe::kernels::cpu {
namespace {

template <class T>
T* at(T* p, int64_t offset) {
  return p ? p + offset : nullptr;
}

GatherShape gather_shape(const GroupedLinearShape& s, const GroupedRows& at) {
  return {at.tokens, at.topk, s.in};
}

// Lets each product with weights ask for those of the next expert that has rows.
template <class T>
void ask_ahead(std::vector<Gemm<T>>& products) {
  const T* next = nullptr;
  for (auto p = products.rbegin(); p != products.rend(); ++p)
    if (!p->a_transposed) p->next_b = std::exchange(next, p->b);
}

}  // namespace

template <class T>
void grouped_linear_forward(GroupedLinearShape shape, const GroupedRows& where, const T* x, const T* weight,
                            const T* bias, T* rows, T* h, T* y) {
  const auto [R, in, out, experts, epilogue, packed] = shape;
  if (where.assignment) gather_forward(gather_shape(shape, where), where.assignment, x, rows);
  const T* const from = where.assignment ? rows : x;
  T* const to = epilogue == Epilogue::silu ? h : y;
  thread_local std::vector<Gemm<T>> products;
  products.clear();
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t first = where.offsets[e], count = where.offsets[e + 1] - first;
    if (count == 0) continue;
    products.push_back(linear_product({count, in, out, packed}, at(from, first * in),
                                      at(weight, e * out * in), at(bias, e * out), at(to, first * out)));
    products.back().relu = epilogue == Epilogue::relu;
  }
  ask_ahead(products);
  gemm<T>(products);
  const int64_t used = where.offsets[experts] * out;
  if (epilogue == Epilogue::silu) pointwise_forward(Silu{}, used, h, y);
  std::fill(at(y, used), at(y, R * out), T(0));
}

template <class T>
void grouped_linear_backward(GroupedLinearShape shape, const GroupedRows& where, const GroupedGradients<T>& g,
                             T* rows, T* dh, T* drows, double* squares) {
  const auto [R, in, out, experts, epilogue, packed] = shape;
  const int64_t parts = (out + kEpilogueColumns - 1) / kEpilogueColumns;
  const bool masked = epilogue != Epilogue::none;
  if (masked || g.dbias)
    parallel_for(experts * parts, [=, out = shape.out, epilogue = shape.epilogue](int64_t task) {
      const int64_t e = task / parts, first = where.offsets[e], count = where.offsets[e + 1] - first;
      const auto& gradient = epilogue == Epilogue::relu   ? epilogue_gradient<Epilogue::relu, T>
                             : epilogue == Epilogue::silu ? epilogue_gradient<Epilogue::silu, T>
                                                          : epilogue_gradient<Epilogue::none, T>;
      gradient(count, out, task % parts * kEpilogueColumns, at(g.kept, first * out), at(g.dy, first * out),
               at(dh, first * out), at(g.dbias, e * out));
    });
  const bool gathered = where.assignment != nullptr;
  if (gathered) gather_forward(gather_shape(shape, where), where.assignment, g.x, rows);
  const T *const gradient = masked ? dh : g.dy, *const from = gathered ? rows : g.x;
  const Into<T> to = g.dx && gathered ? Into<T>(drows, false) : g.dx;
  thread_local std::vector<Gemm<T>> products;
  products.clear();
  if (squares) *squares = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const int64_t first = where.offsets[e], count = where.offsets[e + 1] - first;
    const int64_t weights = e * out * in;
    if (count == 0 && (g.gaps || g.dweight.add)) {
      if (g.gaps) g.gaps->push_back({weights, weights + out * in});
      continue;
    }
    add_linear_gradients({count, in, out}, at(from, first * in), at(g.weight, weights),
                         at(gradient, first * out), to.from(first * in), g.dweight.from(weights), squares,
                         products);
  }
  ask_ahead(products);
  gemm<T>(products);
  if (!gathered && !to.add) std::fill(to.to + where.offsets[experts] * in, to.to + R * in, T(0));
  if (g.dx && gathered) gather_backward(gather_shape(shape, where), where.row, drows, g.dx);
}

template void grouped_linear_forward(GroupedLinearShape, const GroupedRows&, const float*, const float*,
                                     const float*, float*, float*, float*);
template void grouped_linear_forward(GroupedLinearShape, const GroupedRows&, const double*, const double*,
                                     const double*, double*, double*, double*);
template void grouped_linear_backward(GroupedLinearShape, const GroupedRows&, const GroupedGradients<float>&,
                                      float*, float*, float*, double*);
template void grouped_linear_backward(GroupedLinearShape, const GroupedRows&, const GroupedGradients<double>&,
                                      double*, double*, double*, double*);

}  // namespace moe::kernels::cpu
