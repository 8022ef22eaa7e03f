#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "core/tensor.h"
#include "kernels/gemm/parts.h"
#include "tests/catch.h"

namespace moe::kernels::cpu {
namespace {

// A matrix in either layout, each run of memory followed by three NaNs that nobody may read or write.
template <class T>
struct Matrix {
  int64_t rows, columns, ld;
  bool transposed;
  std::vector<T> memory;

  Matrix(int64_t rows_, int64_t columns_, bool transposed_, uint32_t stream)
      : rows(rows_),
        columns(columns_),
        ld((transposed_ ? rows_ : columns_) + 3),
        transposed(transposed_),
        memory(static_cast<size_t>((transposed_ ? columns_ : rows_) * ld),
               std::numeric_limits<T>::quiet_NaN()) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        at(i, j) = static_cast<T>(
            random_normal({.seed = 7, .stream = stream}, static_cast<uint64_t>(i * columns + j)));
  }
  size_t index(int64_t i, int64_t j) const {
    return static_cast<size_t>(transposed ? j * ld + i : i * ld + j);
  }
  T& at(int64_t i, int64_t j) { return memory[index(i, j)]; }
  const T& at(int64_t i, int64_t j) const { return memory[index(i, j)]; }
};

template <class T>
Gemm<T> product(const Matrix<T>& a, const Matrix<T>& b, Matrix<T>& c, const T* bias = nullptr,
                bool accumulate = false) {
  return {.m = c.rows,
          .n = c.columns,
          .k = a.columns,
          .a = a.memory.data(),
          .lda = a.ld,
          .a_transposed = a.transposed,
          .b = b.memory.data(),
          .ldb = b.ld,
          .b_transposed = b.transposed,
          .c = c.memory.data(),
          .ldc = c.ld,
          .bias = bias,
          .accumulate = accumulate};
}

template <class T>
std::vector<T> make_bias(int64_t n) {
  const Matrix<T> row(1, n, false, 3);
  return {row.memory.begin(), row.memory.begin() + n};
}

// Compares with plain loops in double. Summing k products and two more terms in any order, fused or not, errs
// by at most (k + 2) eps times the sum of the magnitudes (Higham, Accuracy and Stability, section 3.1).
template <class T>
void check_product(int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed, bool with_bias,
                   bool accumulate, const detail::InstructionSet& set = detail::instruction_sets().front()) {
  CAPTURE(m, n, k, a_transposed, b_transposed, with_bias, accumulate, set.name);
  const Matrix<T> a(m, k, a_transposed, 0), b(k, n, b_transposed, 1), before(m, n, false, 2);
  const std::vector<T> bias = make_bias<T>(n);
  Matrix<T> c = before;
  const Gemm<T> p = product(a, b, c, with_bias ? bias.data() : nullptr, accumulate);
  detail::gemm(std::span(&p, 1), set);
  int64_t wrong = 0, overwritten = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0, magnitude = 0;
      const auto add = [&](double term) {
        sum += term;
        magnitude += std::abs(term);
      };
      for (int64_t l = 0; l < k; ++l) add(static_cast<double>(a.at(i, l)) * static_cast<double>(b.at(l, j)));
      if (with_bias) add(bias[static_cast<size_t>(j)]);
      if (accumulate) add(before.at(i, j));
      const double bound = static_cast<double>(k + 2) * std::numeric_limits<T>::epsilon() * magnitude;
      wrong += !(std::abs(static_cast<double>(c.at(i, j)) - sum) <= bound);
    }
    for (int64_t j = n; j < c.ld; ++j) overwritten += !std::isnan(c.at(i, j));
  }
  CHECK(wrong == 0);
  CHECK(overwritten == 0);
}

struct ThreadsRestored {
  ~ThreadsRestored() { set_threads(0); }
};

// The bits of rows [first, first + part.rows) of `whole` and of `part`.
template <class T>
bool same_rows(const Matrix<T>& whole, int64_t first, const Matrix<T>& part) {
  for (int64_t i = 0; i < part.rows; ++i)
    if (std::memcmp(&whole.at(first + i, 0), &part.at(i, 0), static_cast<size_t>(part.columns) * sizeof(T)) !=
        0)
      return false;
  return true;
}

// Rows [first, first + rows) of a.
template <class T>
Matrix<T> some_rows(const Matrix<T>& a, int64_t first, int64_t rows, bool transposed) {
  Matrix<T> part(rows, a.columns, transposed, 0);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t l = 0; l < a.columns; ++l) part.at(i, l) = a.at(first + i, l);
  return part;
}

}  // namespace

TEMPLATE_TEST_CASE("gemm agrees with plain loops in every layout and size", "[gemm]", float, double) {
  const int64_t sizes[][3] = {{1, 1, 1},     {1, 40, 33},    {2, 3, 4},    {5, 17, 31},
                              {12, 32, 16},  {13, 33, 17},   {37, 8, 128}, {64, 130, 70},
                              {140, 7, 257}, {133, 129, 64}, {3, 65, 600}};
  for (const auto& [m, n, k] : sizes)
    for (const bool a_transposed : {false, true})
      for (const bool b_transposed : {false, true})
        for (const bool extras : {false, true})
          check_product<TestType>(m, n, k, a_transposed, b_transposed, extras, extras);
}

TEMPLATE_TEST_CASE("gemm agrees with plain loops for every number of rows and columns of a tile", "[gemm]",
                   float, double) {
  for (int64_t m = 1; m <= 26; ++m) check_product<TestType>(m, 20, 9, false, true, false, true);
  for (int64_t n = 1; n <= 70; ++n) check_product<TestType>(14, n, 9, false, true, true, false);
  for (int64_t k = 0; k <= 40; ++k) check_product<TestType>(14, 20, k, false, true, true, true);
}

// More than one where the build is for any processor: MOE_NATIVE off.
TEMPLATE_TEST_CASE("gemm agrees with plain loops in every instruction set that runs here", "[gemm]", float,
                   double) {
  for (const detail::InstructionSet& set : detail::instruction_sets())
    for (const bool a_transposed : {false, true})
      for (const bool b_transposed : {false, true})
        for (const auto& [m, n, k] :
             {std::array<int64_t, 3>{1, 1, 1}, {13, 33, 7}, {5, 200, 600}, {150, 70, 70}}) {
          check_product<TestType>(m, n, k, a_transposed, b_transposed, true, false, set);
          check_product<TestType>(m, n, k, a_transposed, b_transposed, false, true, set);
        }
}

TEMPLATE_TEST_CASE("gemm has the same bits in every instruction set that fuses", "[gemm]", float, double) {
  const Matrix<TestType> a(37, 600, false, 0), b(600, 71, true, 1), before(37, 71, false, 2);
  std::optional<Matrix<TestType>> first;
  for (const detail::InstructionSet& set : detail::instruction_sets()) {
    if (!set.fuses) continue;
    CAPTURE(set.name);
    Matrix<TestType> c = before;
    const Gemm<TestType> p = product(a, b, c);
    detail::gemm(std::span(&p, 1), set);
    if (!first) first = c;
    CHECK(same_rows(*first, 0, c));
  }
}

TEMPLATE_TEST_CASE("gemm of no steps writes bias and what was there", "[gemm]", float, double) {
  for (const bool a_transposed : {false, true})
    for (const bool with_bias : {false, true})
      for (const bool accumulate : {false, true})
        check_product<TestType>(150, 65, 0, a_transposed, true, with_bias, accumulate);
  Gemm<TestType> nowhere{.k = 3};  // neither rows nor columns: no pointer is looked at
  gemm(nowhere);
  nowhere.m = 5;
  gemm(nowhere);
  std::swap(nowhere.m, nowhere.n);
  gemm(nowhere);
  gemm(std::span<const Gemm<TestType>>());
}

TEMPLATE_TEST_CASE("a row of gemm has the same bits alone, among others, in any layout and batch", "[gemm]",
                   float, double) {
  using T = TestType;
  const ThreadsRestored restore;
  const int64_t m = 512, n = GENERATE(71, 160), k = 300;
  const bool accumulate = GENERATE(false, true);
  const Matrix<T> a(m, k, false, 0), b(k, n, false, 1), bt(k, n, true, 1);
  const Matrix<T> before(m, n, false, 2);
  const std::vector<T> bias = make_bias<T>(n);
  set_threads(1);
  Matrix<T> whole = before;
  gemm(product(a, b, whole, bias.data(), accumulate));

  struct Part {
    int64_t first, rows;
    Matrix<T> a, c;
  };
  for (const int threads : {1, 2, 3}) {
    set_threads(threads);
    for (const bool a_transposed : {false, true}) {
      for (const Matrix<T>* any_b : {&b, &bt}) {
        CAPTURE(threads, a_transposed, any_b->transposed, accumulate);
        std::vector<Part> parts;
        for (const auto& [first, rows] :
             {std::pair<int64_t, int64_t>{0, m}, {0, 1}, {511, 1}, {100, 37}, {7, 140}})
          parts.push_back(
              {first, rows, some_rows(a, first, rows, a_transposed), some_rows(before, first, rows, false)});
        std::vector<Gemm<T>> batch;
        for (Part& p : parts) {
          batch.push_back(product(p.a, *any_b, p.c, bias.data(), accumulate));
          Matrix<T> alone = p.c;
          gemm(product(p.a, *any_b, alone, bias.data(), accumulate));
          CHECK(same_rows(whole, p.first, alone));
        }
        gemm<T>(batch);
        for (const Part& p : parts) CHECK(same_rows(whole, p.first, p.c));
      }
    }
  }
}

TEMPLATE_TEST_CASE("a packed B gives the same bits as one whose columns lie behind each other", "[gemm]",
                   float, double) {
  using T = TestType;
  const bool accumulate = GENERATE(false, true);
  for (const detail::InstructionSet& set : detail::instruction_sets())
    for (const int64_t m : {1, 2, 8, 12, 13, 32, 300})
      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{32, 1}, {160, 70}, {96, 600}, {64, 0}}) {
        CAPTURE(set.name, m, n, k, accumulate);
        const Matrix<T> a(m, k, false, 0), before(m, n, false, 2);
        std::vector<T> columns(static_cast<size_t>(n * k));
        for (size_t i = 0; i < columns.size(); ++i)
          columns[i] = static_cast<T>(random_normal({.seed = 7, .stream = 1}, i));
        const std::vector<T> bias = make_bias<T>(n);
        Matrix<T> c = before, wanted = before;
        Gemm<T> p{.m = m,
                  .n = n,
                  .k = k,
                  .a = a.memory.data(),
                  .lda = a.ld,
                  .b = columns.data(),
                  .ldb = k,
                  .b_transposed = true,
                  .c = wanted.memory.data(),
                  .ldc = c.ld,
                  .bias = bias.data(),
                  .accumulate = accumulate,
                  .relu = true};
        detail::gemm(std::span<const Gemm<T>>(&p, 1), set);
        pack_columns(n, k, columns.data());
        p.b_packed = true;
        p.c = c.memory.data();
        detail::gemm(std::span<const Gemm<T>>(&p, 1), set);
        CHECK(same_rows(wanted, 0, c));
      }
}

TEMPLATE_TEST_CASE("a C that goes past the caches gets the same bits, and nothing beside them", "[gemm]",
                   float, double) {
  constexpr auto kNaN = std::numeric_limits<TestType>::quiet_NaN();
  for (const auto& [m, n, k] :
       {std::array<int64_t, 3>{37, 128, 16}, {25, 100, 130}, {13, 70, 600}, {5, 64, 0}})
    for (const int64_t ldc : {int64_t{128}, int64_t{131}})
      for (const bool accumulate : {false, true})
        for (const detail::InstructionSet& set : detail::instruction_sets()) {
          CAPTURE(m, n, k, ldc, accumulate, set.name);
          const Matrix<TestType> a(m, k, true, 0), b(k, n, false, 1);
          Matrix<TestType> plain(m, n, false, 2);
          Gemm<TestType> p = product<TestType>(a, b, plain, nullptr, accumulate);
          const Tensor c = Tensor::empty({m, ldc}, dtype_of<TestType>());
          std::ranges::fill(c.span<TestType>(), kNaN);
          for (int64_t i = 0; i < m; ++i) std::copy_n(&plain.at(i, 0), n, c.data<TestType>() + i * ldc);
          detail::gemm(std::span<const Gemm<TestType>>(&p, 1), set);
          p.c = c.data<TestType>();
          p.ldc = ldc;
          p.stream = true;
          detail::gemm(std::span<const Gemm<TestType>>(&p, 1), set);
          bool same = true;
          for (int64_t i = 0; i < m; ++i) {
            const TestType* const row = p.c + i * ldc;
            same &= std::memcmp(row, &plain.at(i, 0), static_cast<size_t>(n) * sizeof(TestType)) == 0;
            same &= std::all_of(row + n, row + ldc, [](TestType x) { return std::isnan(x); });
          }
          CHECK(same);
        }
}

TEMPLATE_TEST_CASE(
    "the squares of C are summed as it is written, the same bits in every instruction set that fuses",
    "[gemm][threads]", float, double) {
  const ThreadsRestored restore;
  for (const auto& [m, n, k] :
       {std::array<int64_t, 3>{37, 128, 16}, {600, 300, 5}, {25, 101, 600}, {5, 64, 0}})
    for (const bool extras : {false, true}) {
      CAPTURE(m, n, k, extras);
      const Matrix<TestType> a(m, k, true, 0), b(k, n, false, 1);
      const std::vector<TestType> bias = make_bias<TestType>(n);
      std::optional<double> first;
      for (const detail::InstructionSet& set : detail::instruction_sets())
        for (const int threads : {1, 2, 3}) {
          CAPTURE(set.name, threads);
          set_threads(threads);
          Matrix<TestType> c(m, n, false, 2), d(m, 7, false, 3);
          const Matrix<TestType> b7(k, 7, false, 4);
          double sum = 1, alone = 0;
          Gemm<TestType> products[] = {product(a, b, c, extras ? bias.data() : nullptr, extras),
                                       product(a, b7, d)};
          products[0].relu = extras;
          products[0].stream = true;
          products[0].squares = products[1].squares = &sum;
          detail::gemm(std::span<const Gemm<TestType>>(products), set);
          products[1].squares = &alone;
          detail::gemm(std::span<const Gemm<TestType>>(&products[1], 1), set);
          double wanted = 1, wanted_alone = 0;
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) wanted += std::pow(static_cast<double>(c.at(i, j)), 2);
            for (int64_t j = 0; j < 7; ++j) wanted_alone += std::pow(static_cast<double>(d.at(i, j)), 2);
          }
          CHECK(alone == Approx(wanted_alone).epsilon(1e-13));
          CHECK(sum == Approx(wanted + wanted_alone).epsilon(1e-13));
          if (set.fuses) CHECK(sum == first.value_or(sum));
          if (set.fuses) first = sum;
        }
    }
}

TEST_CASE("columns are packed in slivers of 32, and only whole ones", "[gemm]") {
  constexpr int64_t n = 64, k = 3;
  std::vector<float> b(n * k);
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i);
  pack_columns(n, k, b.data());
  for (int64_t j = 0; j < n; ++j)
    for (int64_t l = 0; l < k; ++l)
      CHECK(b[static_cast<size_t>(packed_index(k, l, j))] == static_cast<float>(j * k + l));
  CHECK(packed_index(k, 1, 33) == 32 * k + 32 + 1);
  CHECK_THROWS_AS(pack_columns(33, k, b.data()), Error);
}

TEMPLATE_TEST_CASE("a column of gemm has the same bits alone as among others", "[gemm]", float, double) {
  using T = TestType;
  const int64_t m = 20, n = 150, k = 270;
  const Matrix<T> a(m, k, false, 0), b(k, n, false, 1);
  Matrix<T> whole(m, n, false, 2);
  gemm(product(a, b, whole));
  for (const int64_t j : {0, 15, 16, 33, 127, 149}) {
    Matrix<T> column(m, 1, false, 2);
    Gemm<T> p = product(a, b, column);
    p.b += j;
    gemm(p);
    int64_t different = 0;
    for (int64_t i = 0; i < m; ++i)
      different += std::memcmp(&column.at(i, 0), &whole.at(i, j), sizeof(T)) != 0;
    CAPTURE(j);
    CHECK(different == 0);
  }
}

}  // namespace moe::kernels::cpu
