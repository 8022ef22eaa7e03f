// The tape, and the gradients of parameters.

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "autograd/ops.h"
#include "tests/catch.h"
#include "tests/doubles.h"

namespace moe {
namespace {

using test::doubles;
using test::elements;

Parameter parameter(const char* name, std::vector<double> values) {
  Parameter p = Parameter::create(name, {static_cast<int64_t>(values.size())}, DType::f64);
  std::ranges::copy(values, p.value.data<double>());
  return p;
}

}  // namespace

TEST_CASE("gradients of a value that is used several times add up", "[tape]") {
  const Parameter p = parameter("x", {2, -3});
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const Var x = Var::parameter(p);
  const Var a = scale(tape, x, 5);                          // 5x
  const Var y = add(tape, add(tape, a, a), relu(tape, x));  // 10x + relu(x)
  tape.backward(y, doubles({1, 10}, {2}));
  CHECK(elements(y.value()) == std::vector<double>{22, -30});
  CHECK(elements(p.grad) == std::vector<double>{11, 100});
}

TEST_CASE("backward leaves alone what the result does not depend on", "[tape]") {
  const Parameter p = parameter("x", {1}), q = parameter("unused", {1});
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  const Var x = Var::parameter(p);
  const Var y = scale(tape, x, 2);
  const Var later = scale(tape, y, 100), aside = scale(tape, Var::parameter(q), 3);
  tape.backward(y);
  CHECK(elements(p.grad) == std::vector<double>{2});
  CHECK(elements(q.grad) == std::vector<double>{0});
  CHECK_FALSE(later.grad().get().defined());
  CHECK_FALSE(aside.grad().get().defined());
}

TEST_CASE("backward from a parameter itself adds dy to its gradient", "[tape]") {
  const Parameter p = parameter("x", {1, 1});
  std::ranges::fill(p.grad.span<double>(), 7.0);
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  tape.backward(Var::parameter(p), doubles({1, 2}, {2}));
  CHECK(elements(p.grad) == std::vector<double>{8, 9});
}

TEST_CASE("a forgotten gradient is assigned by the first that has one, added to by others, or settled",
          "[tape]") {
  const Parameter p = parameter("x", {1, 2}), q = parameter("unused", {3});
  const Parameter weight{p.name, p.value.reshape({1, 2}), p.grad.reshape({1, 2}), p.state};
  const Var rows = Var::constant(doubles({10, 20, 30, 40}, {2, 2}), "rows");
  for (const Parameter& forgotten : {p, q}) {
    std::ranges::fill(forgotten.grad.span<double>(), std::nan(""));
    forgotten.forget();
  }
  Arena arena(Device::cpu);
  for (const double times : {1, 2}) {
    Tape tape(arena, Mode::train);
    const Var y = linear(tape, rows, Var::parameter(weight), {});
    tape.backward(add(tape, y, linear(tape, rows, Var::parameter(weight), {})));
    CHECK(elements(p.grad) == std::vector<double>{times * 80, times * 120});
  }
  for (const Parameter& parameter : {p, q}) parameter.settle();
  CHECK(elements(p.grad) == std::vector<double>{160, 240});
  CHECK(elements(q.grad) == std::vector<double>{0});
}

TEST_CASE("the squares of a gradient are at hand when one product has assigned it, until it is changed",
          "[tape]") {
  const Parameter weight = Parameter::create("x", {1, 2}, DType::f64);
  weight.value.fill_zero();
  const Var rows = Var::constant(doubles({10, 20, 30, 40}, {2, 2}), "rows");
  Arena arena(Device::cpu);
  const auto backward = [&] {
    Tape tape(arena, Mode::train);
    tape.backward(linear(tape, rows, Var::parameter(weight), {}));
  };
  backward();
  CHECK(!weight.squares());  // added to zeros
  for (const bool settles : {true, false}) {
    weight.forget();
    CHECK(!weight.squares());
    backward();
    CHECK(elements(weight.grad) == std::vector<double>{40, 60});
    CHECK(weight.squares() == 40 * 40 + 60 * 60);
    settles ? weight.settle() : backward();
    CHECK(!weight.squares());
  }
}

TEST_CASE(
    "an expert without tokens leaves a gap in a gradient that is assigned, until somebody adds or settles",
    "[tape]") {
  const Parameter weight = Parameter::create("x", {3, 1, 2}, DType::f64);
  weight.value.fill_zero();
  Arena arena(Device::cpu);
  const auto backward = [&](std::vector<int32_t> expert) {
    Tape tape(arena, Mode::train);
    const DispatchPlan plan = dispatch_plan(tape, Tensor::from(std::span<const int32_t>(expert), {2, 1}), 3);
    const Var rows = Var::constant(doubles({10, 20, 30, 40}, {2, 2}), "rows");
    tape.backward(grouped_linear(tape, rows, Var::parameter(weight), {}, plan));
  };
  for (const bool settles : {true, false}) {
    std::ranges::fill(weight.grad.span<double>(), 7);
    weight.forget();
    backward({0, 2});
    CHECK(elements(weight.grad) == std::vector<double>{10, 20, 7, 7, 30, 40});
    CHECK(weight.squares() == 100 + 400 + 900 + 1600);
    settles ? weight.settle() : backward({1, 2});
    CHECK(elements(weight.grad) == (settles ? std::vector<double>{10, 20, 0, 0, 30, 40}
                                            : std::vector<double>{10, 20, 10, 20, 60, 80}));
  }
}

TEST_CASE("gradients of several steps add up until somebody clears them", "[tape]") {
  const Parameter p = parameter("x", {1});
  Arena arena(Device::cpu);
  for (const double expected : {2.0, 4.0, 6.0}) {
    Tape tape(arena, Mode::train);
    tape.backward(scale(tape, Var::parameter(p), 2));
    CHECK(elements(p.grad) == std::vector<double>{expected});
  }
}

TEST_CASE("backward frees what each step saved as it goes", "[tape]") {
  const Parameter p = parameter("x", std::vector<double>(1000, 0.5));
  constexpr int kDepth = 20;
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  std::vector<int64_t> in_use;
  tape.intercept([&](const Tape::Step& step) {
    step.run(step.dy);
    in_use.push_back(arena.bytes_in_use());
  });
  {
    Var y = Var::parameter(p);
    for (int i = 0; i < kDepth; ++i) y = silu(tape, y);
    tape.backward(y);
  }
  REQUIRE(in_use.size() == kDepth);
  CHECK(std::ranges::is_sorted(in_use, std::greater<>()));
  CHECK(in_use.back() < in_use.front() / 4);
  CHECK(arena.bytes_in_use() == 0);
}

TEST_CASE("a long chain does not exhaust the stack", "[tape]") {
  const Parameter p = parameter("x", {1});
  Arena arena(Device::cpu);
  Tape tape(arena, Mode::train);
  Var y = Var::parameter(p);
  for (int i = 0; i < 200000; ++i) y = scale(tape, y, 1);
  tape.backward(y);
  CHECK(elements(p.grad) == std::vector<double>{1});
}

TEST_CASE("constants and inference record nothing, and backward says so", "[tape]") {
  const Parameter p = parameter("x", {1});
  Arena arena(Device::cpu);
  Tape training(arena, Mode::train), inferring(arena, Mode::infer);
  const Var constant = scale(training, Var::constant(p.value, "a test"), 2);
  CHECK_FALSE(constant.grad().needed());
  CHECK_THROWS_AS(training.backward(constant), Error);
  const Var inferred = scale(inferring, Var::parameter(p), 2);
  CHECK_FALSE(inferred.grad().needed());
  CHECK_THROWS_AS(inferring.backward(inferred), Error);
  const Var y = scale(training, Var::parameter(p), 2);
  CHECK_THROWS_AS(training.backward(y, doubles({1, 2}, {2})), Error);
  CHECK(elements(p.grad) == std::vector<double>{0});
}

TEST_CASE("backward may overwrite a gradient that nobody else can see, and no other", "[tape]") {
  const Parameter p = parameter("x", {1});
  for (const bool held : {false, true}) {
    Arena arena(Device::cpu);
    Tape tape(arena, Mode::train);
    std::optional<bool> alone;
    Var y = tape.record("probe", scale(tape, Var::parameter(p), 3).value(), {Var::parameter(p)},
                        [&](const Tensor& dy) { alone = dy.alone(); });
    const Var z = scale(tape, y, 2);
    if (!held) y = {};
    tape.backward(z);
    CHECK(alone == !held);
    if (held) CHECK(elements(y.grad().get()) == std::vector<double>{2});
  }
}

TEST_CASE("what is computed again in backward has the same bits and takes no memory until then", "[tape]") {
  const Parameter x = parameter("x", {1, 2, 4, 8, 16, 3, 5, 7}), gain = parameter("gain", {3, 2, 1, 5}),
                  bias = parameter("bias", {1, 0, 2, -1});
  for (const bool sum_first : {false, true}) {
    Arena arena(Device::cpu);
    Tape tape(arena, Mode::train);
    const Var in = scale(tape, Var::parameter({x.name, x.value.reshape({2, 4}), x.grad.reshape({2, 4})}), 1);
    const auto normed = [&](Tape& on) {
      return sum_first
                 ? add_layer_norm(on, in, in, Var::parameter(gain), Var::parameter(bias), 0, RngAddress())
                       .norm
                 : layer_norm(on, in, Var::parameter(gain), Var::parameter(bias));
    };
    Var y = normed(tape);
    const std::vector<double> before = elements(y.value());
    const Saved saved = y.saved();
    const int64_t with = arena.bytes_in_use();
    y = {};
    CHECK(arena.bytes_in_use() == with - 64);
    CHECK(elements(saved.value()) == before);
    CHECK(arena.bytes_in_use() == with);
    CHECK(&saved.value() == &saved.value());

    Tape inferring(arena, Mode::infer);
    const Var kept = normed(inferring);
    CHECK(kept.saved().value().bytes_begin() == kept.value().bytes_begin());
  }
  Arena gpu = Arena::planning(Device::cuda), cpu(Device::meta);
  CHECK(gpu.device() == Device::meta);
  CHECK(gpu.kernels_on() == Device::cuda);
  CHECK(cpu.kernels_on() == Device::cpu);
}

TEST_CASE("a steady step asks nothing of the system and has the same addresses", "[tape][arena]") {
  const Parameter p = parameter("x", std::vector<double>(100, 0.5));
  const auto step = [&](Arena& arena) {
    Tape tape(arena, Mode::train);
    Var y = Var::parameter(p);
    std::vector<const void*> addresses;
    for (int i = 0; i < 5; ++i) {
      y = add(tape, silu(tape, y), y);
      addresses.push_back(y.value().bytes_begin());
    }
    tape.backward(y);
    return addresses;
  };
  Arena planned(Device::meta);
  {
    const Parameter on_meta = Parameter::create("x", {100}, DType::f64, Device::meta);
    Tape tape(planned, Mode::train);
    Var y = Var::parameter(on_meta);
    for (int i = 0; i < 5; ++i) y = add(tape, silu(tape, y), y);
    tape.backward(y);
  }
  Arena arena(Device::cpu, planned.peak_bytes());
  const int64_t allocations = system_allocations();
  const auto first = step(arena);
  for (int i = 0; i < 3; ++i) CHECK(step(arena) == first);
  CHECK(system_allocations() == allocations);
  CHECK(arena.peak_bytes() == planned.peak_bytes());
}

}  // namespace moe
