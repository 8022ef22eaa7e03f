// Shapes, tensors, the arena, the group of one process.

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "core/arena.h"
#include "core/comm.h"
#include "core/philox.h"
#include "tests/catch.h"
#include "tests/doubles.h"

// AddressSanitizer ends the program when a request for memory is absurd; here it shall fail as elsewhere.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace moe {
namespace {

using test::doubles;
using test::elements;

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
