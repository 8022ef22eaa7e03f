// Shapes, tensors, the arena, the tape, the group of one process.

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "autograd/ops.h"
#include "core/comm.h"
#include "tests/catch.h"

// AddressSanitizer ends the program when a request for memory is absurd; here it shall fail as elsewhere.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace moe {
namespace {

template <class F>
ErrorKind kind_of_error(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.kind();
  }
  FAIL("nothing was thrown");
  return {};
}

Tensor doubles(std::vector<double> values, const Shape& shape) {
  return Tensor::from(std::span<const double>(values), shape);
}

Parameter parameter(const char* name, std::vector<double> values) {
  Parameter p = Parameter::create(name, {static_cast<int64_t>(values.size())}, DType::f64);
  std::ranges::copy(values, p.value.data<double>());
  return p;
}

std::vector<double> elements(const Tensor& t) {
  const auto s = t.span<double>();
  return {s.begin(), s.end()};
}

}  // namespace

// --- Shapes and tensors ---

TEST_CASE("a shape counts its elements and refuses what cannot be counted", "[shape]") {
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{3, 0, 2}.numel() == 0);
  CHECK(Shape{2, 3, 4, 5}.numel() == 120);
  CHECK(Shape{2, 3}.str() == "[2, 3]");
  CHECK(Shape{2, 3}[-1] == 3);
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(kind_of_error([] { Shape{2, -1}; }) == ErrorKind::runtime);
  CHECK(kind_of_error([] { Shape{1, 1, 1, 1, 1}; }) == ErrorKind::runtime);
  CHECK(kind_of_error([] {
          (void)Shape{int64_t{1} << 40, int64_t{1} << 40}.numel();
        }) == ErrorKind::resource);
}

TEST_CASE("a tensor that no memory holds is refused as a lack of memory", "[tensor]") {
  for (const int64_t n : {int64_t{1} << 50, int64_t{1} << 61, (int64_t{1} << 60) - 1}) {
    CHECK(kind_of_error([n] { (void)Tensor::empty({n}, DType::f64); }) == ErrorKind::resource);
    Arena arena(Device::cpu);
    CHECK(kind_of_error([&] { (void)arena.allocate({n}, DType::f64); }) == ErrorKind::resource);
  }
  // A plan adds up tensors that are each possible.
  Arena meta(Device::meta);
  const Tensor most = meta.allocate({(int64_t{1} << 62) / 4 * 3}, DType::bf16);
  CHECK(kind_of_error([&] { (void)meta.allocate(most.shape(), DType::bf16); }) == ErrorKind::resource);
}

TEST_CASE("views share memory, and reading another type is an error", "[tensor]") {
  const Tensor t = doubles({1, 2, 3, 4, 5, 6}, {3, 2});
  CHECK(elements(t.rows(1, 2)) == std::vector<double>{3, 4});
  CHECK(t.rows(3, 3).numel() == 0);
  CHECK(t.reshape({2, 3}).rows(1, 2).data<double>() == t.data<double>() + 3);
  t.rows(0, 1).fill_zero();
  CHECK(elements(t) == std::vector<double>{0, 0, 3, 4, 5, 6});
  CHECK_THROWS_AS(t.data<float>(), Error);
  CHECK_THROWS_AS(t.reshape({4}), Error);
  CHECK_THROWS_AS(t.rows(2, 4), Error);
  CHECK_THROWS_AS(t.copy_from(doubles({1, 2}, {2})), Error);
  CHECK_THROWS_AS(Tensor().reshape({0}), Error);
  CHECK_THROWS_AS(doubles({1, 2}, {3}), Error);
}

TEST_CASE("an undefined tensor and one on the meta device have no data", "[tensor]") {
  CHECK(Tensor().data<float>() == nullptr);
  const Tensor meta = Tensor::zeros({4}, DType::f32, Device::meta);
  CHECK(meta.defined());
  CHECK(meta.data<float>() == nullptr);
  CHECK(meta.span<float>().empty());
}

// --- The arena ---

TEST_CASE("the arena gives the same addresses for the same requests and asks the system once", "[arena]") {
  Arena arena(Device::cpu);
  const auto step = [&] {
    std::vector<const void*> addresses;
    std::vector<Tensor> held;
    for (const int64_t n : {100, 7, 0, 3000, 64, 1}) {
      held.push_back(arena.allocate({n}, DType::f32));
      addresses.push_back(held.back().data<float>());
      if (n == 7) held.erase(held.begin());
    }
    return addresses;
  };
  const auto first = step();
  CHECK(arena.bytes_in_use() == 0);
  const int64_t peak = arena.peak_bytes(), reserved = arena.reserved_bytes();
  const int64_t allocations = system_allocations();
  // The first step may have grown the arena piece by piece; from the second on nothing changes any more.
  const auto second = step();
  for (int i = 0; i < 3; ++i) CHECK(step() == second);
  CHECK(second == first);
  CHECK(system_allocations() == allocations);
  CHECK(arena.reserved_bytes() == reserved);
  CHECK(arena.peak_bytes() == peak);
}

TEST_CASE("the arena joins what comes back, in any order", "[arena]") {
  Arena arena(Device::cpu, 4 * 64);
  for (const auto& order : {std::array{0, 1, 2, 3}, std::array{3, 2, 1, 0}, std::array{1, 3, 0, 2}}) {
    std::vector<Tensor> quarters(4);
    for (Tensor& t : quarters) t = arena.allocate({16}, DType::f32);
    for (const int i : order) quarters[static_cast<size_t>(i)] = {};
    const Tensor whole = arena.allocate({64}, DType::f32);  // fits only when all four are one again
    CHECK(arena.reserved_bytes() == 4 * 64);
  }
  CHECK(arena.peak_bytes() == 4 * 64);
}

TEST_CASE("memory that one arena tensor holds is never given to another", "[arena]") {
  for (const int64_t reserve : {0, 1000, 200000}) {
    Arena arena(Device::cpu, reserve), meta(Device::meta);
    std::map<int, std::pair<Tensor, Tensor>> held;
    int next = 0;
    for (uint64_t i = 0; i < 2000; ++i) {
      const uint32_t draw = random_u32({.seed = 3}, i);
      if (held.size() < 40 && draw % 5 < 3) {
        const Shape shape{static_cast<int64_t>(draw >> 8) % 500};
        const Tensor t = arena.allocate(shape, DType::i32);
        CHECK(reinterpret_cast<uintptr_t>(t.bytes_begin()) % 64 == 0);
        std::ranges::fill(t.span<int32_t>(), next);
        held[next++] = {t, meta.allocate(shape, DType::i32)};
      } else if (!held.empty()) {
        const auto victim = std::next(held.begin(), static_cast<long>((draw >> 8) % held.size()));
        const auto values = victim->second.first.span<int32_t>();
        // Each tensor is full of its number: a neighbour that overlaps would have overwritten some.
        CHECK(std::ranges::all_of(values, [&](int32_t v) { return v == victim->first; }));
        held.erase(victim);
      }
      CHECK(arena.bytes_in_use() == meta.bytes_in_use());
    }
    if (reserve >= meta.peak_bytes()) CHECK(arena.peak_bytes() == meta.peak_bytes());
    held.clear();
    CHECK(arena.bytes_in_use() == 0);
    CHECK(meta.bytes_in_use() == 0);
  }
}

TEST_CASE("a tensor may outlive its arena", "[arena]") {
  Tensor t;
  {
    Arena arena(Device::cpu, 1024);
    t = arena.allocate({8}, DType::f64);
  }
  t.fill_zero();
  CHECK(elements(t) == std::vector<double>(8, 0.0));
}

// --- The tape ---

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

// --- The group of one process ---

TEST_CASE("the group of one process talks to itself", "[comm]") {
  LocalComm comm;
  CHECK(comm.size() == 1);
  CHECK(comm.rank() == 0);
  const Tensor values = doubles({1, 2, 3, 4}, {2, 2});
  comm.all_reduce(values);
  comm.broadcast(values, 0);
  CHECK(elements(values) == std::vector<double>{1, 2, 3, 4});
  CHECK_THROWS_AS(comm.broadcast(values, 1), Error);

  const Tensor received = doubles({0, 0, 0, 0}, {2, 2});
  const std::vector<int64_t> two{2}, one{1};
  comm.all_to_all(values, two, received, two);
  CHECK(elements(received) == std::vector<double>{1, 2, 3, 4});
  CHECK_THROWS_AS(comm.all_to_all(values, two, received, one), Error);
}

}  // namespace moe
