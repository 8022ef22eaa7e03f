// CUDA's device functions of the executor against plain C++, those in particular that no kernel uses yet.

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/gpu.h"
#include "tests/catch.h"
#include "tests/simt/executor/fault.h"
#include "tests/simt/kernel_run.h"

namespace moe::test {
namespace {

// y[i] = f(x[i]) by one thread each.
template <class X, class Y>
__global__ void function_kernel(Y (*f)(X), const X* x, Y* y) {
  y[threadIdx.x] = f(x[threadIdx.x]);
}

template <class X, class Y>
std::vector<Y> results_of_kernel(Y (*f)(X), const std::vector<X>& x) {
  const int n = static_cast<int>(x.size());
  Buffer<X> in(n);
  Buffer<Y> out(n);
  std::ranges::copy(x, in.data());
  run<function_kernel<X, Y>>({1, static_cast<unsigned>(n)}, f, in.data(), out.data());
  return {out.data(), out.data() + n};
}

int bits_set(unsigned x) {
  int n = 0;
  for (; x; x /= 2) n += static_cast<int>(x % 2);
  return n;
}
int lowest_bit(unsigned x) {  // counted from 1
  for (int i = 0; i < 32; ++i)
    if (x >> i & 1) return i + 1;
  return 0;
}
int zeros_above(unsigned x) {
  int n = 32;
  for (; x; x /= 2) --n;
  return n;
}

constexpr unsigned kSomeLanes = 0x0F0F12C5u;  // that take part
bool takes_part(int lane) {
  return kSomeLanes >> lane & 1;
}

// y of the lanes that take part; the others run the same among themselves.
__global__ void lanes_kernel(int (*f)(unsigned, int), const int* x, int* y) {
  const int lane = static_cast<int>(threadIdx.x);
  if (takes_part(lane))
    y[lane] = f(kSomeLanes, x[lane]);
  else
    f(~kSomeLanes, x[lane]);
}

__global__ void block_vote_kernel(int (*f)(int), const int* x, int* y) {
  if (threadIdx.x == 3) return;  // is not waited for
  y[threadIdx.x] = f(x[threadIdx.x]);
}

__global__ void atomic_kernel(int (*f)(int*, int), const int* x, int* sum, int* before) {
  before[threadIdx.x] = f(sum, x[threadIdx.x]);
}

__global__ void cached_kernel(const float4* x, float4* y) {
  const unsigned i = threadIdx.x;
  __stcs(y + i, i % 2 ? __ldg(x + i) : __ldcs(x + i));
}

}  // namespace

TEST_CASE("functions of floats are those of the standard library", "[simt]") {
  struct Function {
    const char* name;
    float (*on_device)(float);
    double (*plain)(double);
  };
  const std::vector<float> x = {0.001f, 0.25f, 1, 1.5f, 2, 3.7f, 50};
  for (const Function& f : {Function{"__expf", __expf, std::exp}, Function{"__logf", __logf, std::log},
                            Function{"rsqrtf", rsqrtf, [](double v) { return 1 / std::sqrt(v); }}}) {
    INFO(f.name);
    const std::vector<float> y = results_of_kernel(f.on_device, x);
    for (size_t i = 0; i < x.size(); ++i) CHECK(y[i] == Approx(f.plain(double{x[i]})).epsilon(1e-6));
  }
}

TEST_CASE("arithmetic of one rounding rounds once", "[simt]") {
  const float a = 1 + 0x1p-12f, b = 1 - 0x1p-12f;  // of which the product is 1 - 2^-24
  CHECK(__fadd_rn(0x1p24f, 1.0f) == 0x1p24f);
  CHECK(__fsub_rn(1.0f, 0x1p-30f) == 1);
  CHECK(__fmul_rn(a, a) == 1 + 0x1p-11f);
  CHECK(__fmaf_rn(a, b, -1.0f) == -0x1p-24f);
}

TEST_CASE("bits are counted and found as by plain loops", "[simt]") {
  struct Function {
    const char* name;
    int (*on_device)(unsigned);
    int (*plain)(unsigned);
  };
  const std::vector<unsigned> x = {0, 1, 2, 3, 40, 0x80000000u, 0xFFFFFFFFu, 0x00F01000u};
  for (const Function& f :
       {Function{"__popc", __popc, bits_set},
        Function{"__ffs", [](unsigned v) { return __ffs(static_cast<int>(v)); }, lowest_bit},
        Function{"__clz", [](unsigned v) { return __clz(static_cast<int>(v)); }, zeros_above}}) {
    INFO(f.name);
    const std::vector<int> y = results_of_kernel(f.on_device, x);
    for (size_t i = 0; i < x.size(); ++i) CHECK(y[i] == f.plain(x[i]));
  }
}

TEST_CASE("the bits of floats are taken and given as they are", "[simt]") {
  CHECK(__float_as_uint(-2.0f) == 0xC0000000u);
  CHECK(__float_as_int(1.0f) == 0x3F800000);
  CHECK(__uint_as_float(0xC0000000u) == -2.0f);
  CHECK(__int_as_float(0x3F800000) == 1.0f);
}

TEST_CASE("loads and stores with a word on caching load and store", "[simt]") {
  Buffer<float4> x(4), y(4);
  for (int i = 0; i < 4; ++i) x[i] = make_float4(static_cast<float>(i), 1, 2, 3);
  run<cached_kernel>({1, 4}, x.data(), y.data());
  for (int i = 0; i < 4; ++i) CHECK((y[i].x == static_cast<float>(i) && y[i].w == 3));
}

TEST_CASE("collectives of some lanes give what loops over these lanes give", "[simt]") {
  using Values = std::vector<int>;  // of all lanes
  struct Function {
    const char* name;
    int (*on_device)(unsigned, int);
    int (*plain)(const Values& x, int lane);
  };
  // The results of step(result so far, value, lane, own value) over the lanes that take part.
  static const auto fold = [](const Values& x, int result, auto step) {
    for (int l = 0; l < 32; ++l)
      if (takes_part(l)) result = step(result, x[static_cast<size_t>(l)], l);
    return result;
  };
  const std::vector<Function> functions = {
      {"__reduce_add_sync", [](unsigned m, int v) { return __reduce_add_sync(m, v); },
       [](const Values& x, int) { return fold(x, 0, [](int r, int v, int) { return r + v; }); }},
      {"__reduce_max_sync", [](unsigned m, int v) { return __reduce_max_sync(m, v); },
       [](const Values& x, int) { return fold(x, -99, [](int r, int v, int) { return std::max(r, v); }); }},
      {"__reduce_min_sync", [](unsigned m, int v) { return __reduce_min_sync(m, v); },
       [](const Values& x, int) { return fold(x, 99, [](int r, int v, int) { return std::min(r, v); }); }},
      {"__reduce_max_sync of unsigned",
       [](unsigned m, int v) { return static_cast<int>(__reduce_max_sync(m, static_cast<unsigned>(v))); },
       [](const Values& x, int) {
         return fold(x, 0, [](int r, int v, int) {
           return static_cast<int>(std::max(static_cast<unsigned>(r), static_cast<unsigned>(v)));
         });
       }},
      {"__ballot_sync", [](unsigned m, int v) { return static_cast<int>(__ballot_sync(m, v > 0)); },
       [](const Values& x, int) { return fold(x, 0, [](int r, int v, int l) { return r | (v > 0) << l; }); }},
      {"__any_sync", [](unsigned m, int v) { return int{__any_sync(m, v == 7) != 0}; },
       [](const Values& x, int) { return fold(x, 0, [](int r, int v, int) { return int{r || v == 7}; }); }},
      {"__all_sync", [](unsigned m, int v) { return int{__all_sync(m, v < 8) != 0}; },
       [](const Values& x, int) { return fold(x, 1, [](int r, int v, int) { return int{r && v < 8}; }); }},
      {"__match_any_sync", [](unsigned m, int v) { return static_cast<int>(__match_any_sync(m, v)); },
       [](const Values& x, int lane) {
         const int own = x[static_cast<size_t>(lane)];
         return fold(x, 0, [own](int r, int v, int l) { return r | (v == own) << l; });
       }}};
  under_all_schedules(2, [&] {
    for (const int most : {7, 8}) {
      Buffer<int> x(32), y(32);
      for (int l = 0; l < 32; ++l) x[l] = takes_part(l) ? l * l % (most + 1) - l % 3 : 50 + l;
      if (most == 8) x[6] = 8;
      const Values values(x.data(), x.data() + 32);
      for (const Function& f : functions) {
        INFO(f.name);
        run<lanes_kernel>({1, 32}, f.on_device, x.data(), y.data());
        for (int l = 0; l < 32; ++l)
          if (takes_part(l)) CHECK(y[l] == f.plain(values, l));
      }
    }
  });
  CHECK(simt::take_faults().empty());
}

TEST_CASE("barriers say whether any thread or all threads that are left say yes", "[simt]") {
  struct Function {
    const char* name;
    int (*on_device)(int);
    int of_none, of_one, of_all;
  };
  constexpr int kThreads = 40;
  Buffer<int> x(kThreads), y(kThreads);
  for (const Function& f :
       {Function{"__syncthreads_or", [](int v) { return int{__syncthreads_or(v) != 0}; }, 0, 1, 1},
        Function{"__syncthreads_and", [](int v) { return int{__syncthreads_and(v) != 0}; }, 0, 0, 1},
        Function{"__syncthreads_count", [](int v) { return __syncthreads_count(v); }, 0, 1, kThreads - 1}}) {
    INFO(f.name);
    const auto check = [&](auto predicate, int expected) {
      for (int i = 0; i < kThreads; ++i) x[i] = predicate(i);
      run<block_vote_kernel>({1, kThreads}, f.on_device, x.data(), y.data());
      for (int i = 0; i < kThreads; ++i)
        if (i != 3) CHECK(y[i] == expected);
    };
    check([](int i) { return i == 3 ? 1 : 0; }, f.of_none);  // who has left is not asked
    check([](int i) { return i == 17 ? 4 : 0; }, f.of_one);
    check([](int i) { return i == 3 ? 0 : -1; }, f.of_all);
  }
}

TEST_CASE("atomic operations give the old value and leave the new one", "[simt]") {
  struct Function {
    const char* name;
    int (*on_device)(int*, int);
    int (*plain)(int old, int v);
  };
  constexpr int kThreads = 40;  // which run one after the other
  for (const Function& f : std::vector<Function>{
           {"atomicAdd", [](int*p, int v) { return atomicAdd(p, v); }, [](int a, int v) { return a + v; }},
           {"atomicSub", [](int*p, int v) { return atomicSub(p, v); }, [](int a, int v) { return a - v; }},
           {"atomicMax", [](int*p, int v) { return atomicMax(p, v); },
            [](int a, int v) { return std::max(a, v); }},
           {"atomicMin", [](int*p, int v) { return atomicMin(p, v); },
            [](int a, int v) { return std::min(a, v); }},
           {"atomicAnd", [](int*p, int v) { return atomicAnd(p, v); }, [](int a, int v) { return a & v; }},
           {"atomicOr", [](int*p, int v) { return atomicOr(p, v); }, [](int a, int v) { return a | v; }},
           {"atomicXor", [](int*p, int v) { return atomicXor(p, v); }, [](int a, int v) { return a ^ v; }},
           {"atomicExch", [](int*p, int v) { return atomicExch(p, v); }, [](int, int v) { return v; }},
           {"atomicCAS", [](int*p, int v) { return atomicCAS(p, v - 1, v); },
            [](int a, int v) { return a == v - 1 ? v : a; }}}) {
    INFO(f.name);
    Buffer<int> x(kThreads), before(kThreads), sum(1);
    for (int i = 0; i < kThreads; ++i) x[i] = i * 29 % 31 - 7 + i / 8;
    x[20] = 37;
    x[21] = 38;
    int expected = sum[0] = 29;
    run<atomic_kernel>({1, kThreads}, f.on_device, x.data(), sum.data(), before.data());
    for (int i = 0; i < kThreads; ++i) {
      CHECK(before[i] == expected);
      expected = f.plain(expected, x[i]);
    }
    CHECK(sum[0] == expected);
  }
  CHECK(simt::take_faults().empty());
}

}  // namespace moe::test
