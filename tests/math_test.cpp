#include "kernels/math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/philox.h"
#include "tests/catch.h"
#include "tests/worse.h"

namespace moe::kernels::cpu {
namespace {

std::vector<float> normals(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(random_normal({.seed = 8}, i));
  return x;
}

bool same_bits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

}  // namespace

TEST_CASE("the fast exponential is within 1.5 units in the last place", "[math]") {
  double worst = 0;
  for (uint64_t i = 0; i < 300000; ++i) {
    const float x = -87.3f + 176.0f * to_uniform(random_u32({.seed = 5}, i));
    const double exact = std::exp(static_cast<double>(x));
    const float rounded = static_cast<float>(exact);
    const float ulp = std::nextafter(rounded, INFINITY) - rounded;
    worst = test::worse(worst, std::abs(static_cast<double>(fast_exp(x)) - exact) / static_cast<double>(ulp));
  }
  CHECK(worst < 1.5);
}

TEST_CASE("the fast exponential is right at the ends", "[math]") {
  CHECK(fast_exp(0.0f) == 1.0f);
  CHECK(fast_exp(-0.0f) == 1.0f);
  CHECK(fast_exp(-INFINITY) == 0.0f);
  CHECK(fast_exp(-1000.0f) == 0.0f);
  CHECK(fast_exp(88.72283f) < INFINITY);
  CHECK(fast_exp(88.73f) == INFINITY);
  CHECK(fast_exp(INFINITY) == INFINITY);
  CHECK(std::isnan(fast_exp(NAN)));
}

TEST_CASE("vectors and single numbers have the same exponential", "[math]") {
  const float special[] = {0, -INFINITY, INFINITY, -87.4f, 88.8f, 1e-30f, -3.25f, 12.5f};
  float from_vector[8];
  store(from_vector, fast_exp(load(special)));
  for (int l = 0; l < kLanes; ++l) CHECK(same_bits(from_vector[l], fast_exp(special[l])));
}

TEST_CASE("the fast softplus is within 3 units in the last place, and right at the ends", "[math]") {
  double worst = 0;
  for (uint64_t i = 0; i < 300000; ++i) {
    const float x = -80.0f + 160.0f * to_uniform(random_u32({.seed = 6}, i));
    const double exact = fast_softplus(static_cast<double>(x));
    const float rounded = static_cast<float>(exact);
    const float ulp = std::nextafter(rounded, INFINITY) - rounded;
    const double error = std::abs(static_cast<double>(fast_softplus(x)) - exact);
    worst = test::worse(worst, error / static_cast<double>(ulp));
  }
  CHECK(worst < 3);
  CHECK(fast_softplus(INFINITY) == INFINITY);
  CHECK(fast_softplus(-INFINITY) == 0.0f);
  CHECK(fast_softplus(1e30f) == 1e30f);
  CHECK(std::isnan(fast_softplus(NAN)));
}

TEST_CASE("sums have the bits of their lanes, wherever the row lies", "[math]") {
  const std::vector<float> x = normals(200);
  for (int64_t n = 0; n <= 70; ++n) {
    float lane[16] = {}, product[16] = {};
    for (int64_t i = 0; i < n; ++i) {
      const float v = x[static_cast<size_t>(i)], w = x[static_cast<size_t>(i + 90)];
      lane[i % 16] += v;
      product[i % 16] = fma(v, w, product[i % 16]);
    }
    for (float* l : {lane, product}) {
      for (int i = 0; i < 8; ++i) l[i] += l[i + 8];
      l[0] = ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
    }
    for (int64_t offset = 0; offset < 9; ++offset) {
      std::vector<float> moved(200);
      std::copy(x.begin(), x.begin() + 160, moved.begin() + offset);
      INFO(n << " elements at " << offset);
      REQUIRE(same_bits(sum(moved.data() + offset, n), lane[0]));
      REQUIRE(same_bits(dot(moved.data() + offset, moved.data() + offset + 90, n), product[0]));
    }
  }
}

TEST_CASE("sums of exponentials and maxima take every element once", "[math]") {
  const std::vector<float> x = normals(60);
  for (int64_t n = 1; n <= 60; ++n) {
    float most = x[0];
    double total = 0;
    for (int64_t i = 0; i < n; ++i) {
      most = std::max(most, x[static_cast<size_t>(i)]);
      total += std::exp(static_cast<double>(x[static_cast<size_t>(i)]) - 0.5);
    }
    CHECK(max_of(x.data(), n) == most);
    CHECK(static_cast<double>(sum_exp(x.data(), n, 0.5f)) == Approx(total).epsilon(1e-6));
  }
  CHECK(max_of(x.data(), 0) == -INFINITY);
}

}  // namespace moe::kernels::cpu
