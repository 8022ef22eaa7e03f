// The generator against the known answers of its authors, and the moments of what is made of it.

#include "core/philox.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/random.h"
#include "tests/catch.h"

namespace moe {
namespace {

void check_answer(Philox4 counter, uint32_t k0, uint32_t k1, Philox4 expected) {
  const Philox4 got = philox4x32_10(counter, k0, k1);
  for (int i = 0; i < 4; ++i) CHECK(got.v[i] == expected.v[i]);
}

}  // namespace

// kat_vectors of Random123 1.14, lines philox4x32 10.
TEST_CASE("Philox4x32-10 gives the known answers of Random123", "[philox]") {
  constexpr uint32_t kOnes = 0xffffffffu;
  check_answer({{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  check_answer({{kOnes, kOnes, kOnes, kOnes}}, kOnes, kOnes,
               {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  check_answer({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0,
               {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST_CASE("a draw's address is (seed, step, stream, index), each part whole", "[philox]") {
  const RngAddress address{.seed = 0x299f31d0a4093822, .step = 0x03707344, .stream = 0x13198a2e};
  // Index 4 * block + i is word i of the block of counter (block low, block high, stream, step).
  const uint64_t block = 0x85a308d3243f6a88;
  CHECK(random_block(address, block).v[0] == 0xd16cfe09);
  CHECK(random_block(address, block).v[3] == 0x24126ea1);
  const uint64_t small_block = 12345;
  for (uint64_t i = 0; i < 4; ++i)
    CHECK(random_u32(address, 4 * small_block + i) == random_block(address, small_block).v[i]);

  std::set<uint32_t> draws{random_u32({1, 2, 3}, 4)};
  CHECK(draws.insert(random_u32({2, 2, 3}, 4)).second);
  CHECK(draws.insert(random_u32({1 + (uint64_t{1} << 32), 2, 3}, 4)).second);
  CHECK(draws.insert(random_u32({1, 3, 3}, 4)).second);
  CHECK(draws.insert(random_u32({1, 2, 4}, 4)).second);
  CHECK(draws.insert(random_u32({1, 2, 3}, 5)).second);
  CHECK(draws.insert(random_u32({1, 2, 3}, 4 + (uint64_t{1} << 34))).second);
}

TEST_CASE("uniform draws lie strictly between 0 and 1", "[philox]") {
  CHECK(to_uniform(0) > 0);
  CHECK(to_uniform(0xffffffffu) < 1);
  CHECK(to_uniform(0x80000000u) == Approx(0.5));
}

// Of n draws, the mean of x^p deviates by sqrt(var(x^p) / n). Five deviations are allowed; the draws are
// fixed.
TEST_CASE("normals have the moments of the standard normal", "[philox]") {
  constexpr int kDraws = 200000;
  const RngAddress address{.seed = 42, .step = 1, .stream = 2};
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, neighbours = 0, previous = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random_normal(address, static_cast<uint64_t>(i));
    m1 += x / kDraws;
    m2 += x * x / kDraws;
    m3 += x * x * x / kDraws;
    m4 += x * x * x * x / kDraws;
    neighbours += x * previous / kDraws;
    previous = x;
  }
  const double deviation = 5 / std::sqrt(static_cast<double>(kDraws));
  CHECK(std::abs(m1) < deviation);
  CHECK(std::abs(m2 - 1) < deviation * std::sqrt(2.0));   // E x^4 - 1
  CHECK(std::abs(m3) < deviation * std::sqrt(15.0));      // E x^6
  CHECK(std::abs(m4 - 3) < deviation * std::sqrt(96.0));  // E x^8 - 9
  CHECK(std::abs(neighbours) < deviation);
}

TEST_CASE("normals are finite at both ends of the draws", "[philox]") {
  double n0 = 0, n1 = 0;
  for (const uint32_t u : {0u, 0xffffffffu}) {
    to_normals(u, u, n0, n1);
    CHECK(std::isfinite(n0));
    CHECK(std::isfinite(n1));
    CHECK(std::hypot(n0, n1) <= 6.8);  // sqrt(-2 log 2^-33)
  }
}

// Units of 2^-53 of the largest radius: a logarithm, a root and two products, and the angle of random_normal
// is rounded before its sine is taken.
TEST_CASE("normals drawn side by side are those drawn one by one, from any first and any number on",
          "[philox]") {
  const RngAddress address{.seed = 42, .step = 3, .stream = 5};
  constexpr uint64_t kStart = (uint64_t{1} << 34) - 70;  // blocks on both sides of 2^32
  std::vector<double> exact(70000);
  for (size_t i = 0; i < exact.size(); ++i) exact[i] = random_normal(address, kStart + i);
  std::vector<double> all(exact.size());
  kernels::cpu::random_normals(address, kStart, static_cast<int64_t>(all.size()), all.data());
  double worst = 0;
  for (size_t i = 0; i < all.size(); ++i) worst = std::max(worst, std::abs(all[i] - exact[i]));
  CHECK(worst < 6.8 * 8 * 0x1p-53);

  for (uint64_t first = 0; first < 9; ++first)
    for (int64_t n = 0; n < 140; ++n) {
      std::vector<double> some(static_cast<size_t>(n) + 1, 77);
      kernels::cpu::random_normals(address, kStart + first, n, some.data());
      const bool same = std::equal(some.begin(), some.end() - 1, all.begin() + static_cast<int64_t>(first));
      INFO(n << " from " << first);
      REQUIRE((same && some.back() == 77));
    }

  // A float is another one where a last bit of double decides: about once in 2^26 draws.
  std::vector<float> floats(exact.size());
  kernels::cpu::random_normals(address, kStart, static_cast<int64_t>(floats.size()), floats.data());
  for (size_t i = 0; i < floats.size(); ++i) REQUIRE(floats[i] == static_cast<float>(exact[i]));
}

TEST_CASE("words at the ends of their range make the same normals side by side", "[philox]") {
  const uint32_t special[] = {0,          1,          0x1FFFFFFF, 0x20000000, 0x3FFFFFFF, 0x40000000,
                              0x60000000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xA0000000, 0xB504F333,
                              0xB504F334, 0xC0000000, 0xE0000000, 0xFFFFFFFF};
  for (const uint32_t u0 : special)
    for (size_t half = 0; half < 16; half += 8) {
      kernels::cpu::detail::Bits words;
      for (size_t l = 0; l < 8; ++l) words[l] = uint64_t{special[half + l]} << 32 | u0;
      kernels::cpu::Vec<double> n0, n1;
      kernels::cpu::detail::to_normals(words, n0, n1);
      for (size_t l = 0; l < 8; ++l) {
        double e0 = 0, e1 = 0;
        to_normals(u0, special[half + l], e0, e1);
        INFO(u0 << ", " << special[half + l]);
        CHECK(std::abs(n0[l] - e0) < 6.8 * 8 * 0x1p-53);
        CHECK(std::abs(n1[l] - e1) < 6.8 * 8 * 0x1p-53);
      }
    }
}

}  // namespace moe
