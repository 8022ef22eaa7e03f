#include "kernels/gemm/gemm.h"

#include "core/parallel.h"

namespace moe::kernels::cpu {

template <class T>
void gemm(std::span<const Gemm<T>> problems) {
  for (const Gemm<T>& p : problems) {
    parallel_for(p.m, [&](int64_t i) {
      for (int64_t j = 0; j < p.n; ++j) {
        T sum = 0;
        for (int64_t l = 0; l < p.k; ++l)
          sum += (p.a_transposed ? p.a[l * p.lda + i] : p.a[i * p.lda + l]) *
                 (p.b_transposed ? p.b[j * p.ldb + l] : p.b[l * p.ldb + j]);
        T& c = p.c[i * p.ldc + j];
        c = (p.accumulate ? c : T(0)) + sum + (p.bias ? p.bias[j] : T(0));
      }
    });
  }
}

template void gemm(std::span<const Gemm<float>>);
template void gemm(std::span<const Gemm<double>>);

}  // namespace moe::kernels::cpu
