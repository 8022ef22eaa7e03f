#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/ops.h"
#include "kernels/random.h"
#include "tests/catch.h"

namespace moe {
namespace {

constexpr RngAddress kRng{.seed = 0xFEDCBA9876543210u, .step = 11, .stream = 6};

struct Result {
  std::vector<float> y, dx;
};

// Dropout of n ones, and the gradient for dy = 1.
Result drop_ones(int64_t n, double p) {
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const Parameter x = Parameter::create("x", {n}, DType::f32);
  for (float& v : x.value.span<float>()) v = 1;
  const Var y = dropout(tape, Var::parameter(x), p, kRng);
  Result r{{y.value().span<float>().begin(), y.value().span<float>().end()}, {}};
  tape.backward(y);
  r.dx.assign(x.grad.span<float>().begin(), x.grad.span<float>().end());
  return r;
}

}  // namespace

TEST_CASE("dropout takes the draws at their documented addresses", "[dropout]") {
  for (const double p : {0.1, 0.5, 0.999}) {
    const auto threshold = static_cast<uint32_t>(p * 4294967296.0);
    const Result r = drop_ones(20001, p);  // more than one task
    int64_t wrong = 0;
    for (size_t i = 0; i < r.y.size(); ++i)
      wrong += r.y[i] != (random_u32(kRng, i) >= threshold ? static_cast<float>(1 / (1 - p)) : 0.0f);
    CHECK(wrong == 0);
  }
}

TEST_CASE("dropout drops the same elements in backward", "[dropout]") {
  const Result r = drop_ones(20001, 0.3);
  CHECK(r.dx == r.y);
}

TEST_CASE("dropout drops at its rate", "[dropout]") {
  const int64_t n = 200000;
  for (const double p : {0.01, 0.1, 0.5, 0.9}) {
    const Result r = drop_ones(n, p);
    const auto dropped = static_cast<double>(std::count(r.y.begin(), r.y.end(), 0.0f));
    const double expected = p * static_cast<double>(n), deviation = std::sqrt(expected * (1 - p));
    INFO("p = " << p << ": " << dropped << " of " << n);
    CHECK(std::abs(dropped - expected) < 4 * deviation);
  }
}

TEST_CASE("dropout is the identity in inference, and where p is too small for a draw below it", "[dropout]") {
  const Parameter x = Parameter::create("x", {4}, DType::f32);
  for (const double p : {0.0, 1e-10, 0.5}) {
    Arena arena(Device::cpu);
    Tape tape(arena, p < 0.5 ? Mode::train : Mode::infer);
    const Var y = dropout(tape, Var::parameter(x), p, kRng);
    CHECK(y.value().data<float>() == x.value.data<float>());
    CHECK(arena.bytes_in_use() == 0);
  }
}

TEST_CASE("dropout refuses a probability below 0 and from 1 on", "[dropout]") {
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const Var x = Var::parameter(Parameter::create("x", {4}, DType::f32));
  for (const double p : {-0.1, 1.0, 2.0, std::nan("")}) CHECK_THROWS_AS(dropout(tape, x, p, kRng), Error);
}

TEST_CASE("many draws at once are the draws one by one", "[dropout][random]") {
  for (const uint64_t first : {uint64_t{0}, uint64_t{1}, uint64_t{6}, (uint64_t{1} << 34) - 17})
    for (int64_t n = 0; n < 100; ++n) {
      std::vector<uint32_t> memory(static_cast<size_t>(n + kernels::cpu::kDrawSlack));
      const uint32_t* draws = kernels::cpu::random_fill(kRng, first, n, memory.data());
      int64_t wrong = 0;
      for (int64_t i = 0; i < n; ++i) wrong += draws[i] != random_u32(kRng, first + static_cast<uint64_t>(i));
      INFO(n << " draws from " << first);
      REQUIRE(wrong == 0);
      REQUIRE(draws + n <= memory.data() + memory.size());
    }
}

}  // namespace moe
