// Kernel calls that are recorded once and made again.

#include "core/recorded_calls.h"

#include <vector>

#include "autograd/ops.h"
#include "core/arena.h"
#include "tests/catch.h"

namespace moe {
namespace {

std::vector<float> values_of(const Tensor& t) {
  return {t.span<float>().begin(), t.span<float>().end()};
}

}  // namespace

TEST_CASE("recorded calls compute anew from what lies in memory", "[recorded-calls]") {
  Arena arena(Device::cpu);
  const Tensor x = Tensor::from<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  const Tensor weight = Tensor::from<float>(std::vector<float>{1, 0, 2, 0, 1, 1}, {2, 3});
  const Tensor sum = Tensor::zeros({2, 2}, DType::f32), copy = Tensor::zeros({2, 2}, DType::f32);
  const auto pass = [&] {
    Tape tape(arena, Mode::infer);
    const Var y = linear(tape, Var::constant(x, "input"), Var::constant(weight, "fixed"), {});
    sum.fill_zero();
    copy.copy_from(add(tape, y, Var::constant(sum, "zeros")).value());
  };
  arena.lend_to_graph();
  const RecordedCalls calls = RecordedCalls::of(pass);
  CHECK(values_of(copy) == std::vector<float>{7, 5, 16, 11});

  const std::vector<float> others{1, 1, 1, 0, 2, 0};
  std::ranges::copy(others, x.data<float>());
  std::ranges::fill(sum.span<float>(), 100.0f);
  calls.repeat();
  CHECK(values_of(copy) == std::vector<float>{3, 2, 0, 2});
}

TEST_CASE("a recording ends with its work, also by an exception", "[recorded-calls]") {
  int calls = 0;
  const auto count = [&calls] { ++calls; };
  const RecordedCalls recorded = RecordedCalls::of([&] {
    run_recorded(count);
    run_recorded(count);
  });
  CHECK_THROWS_AS(RecordedCalls::of([&] {
                    run_recorded(count);
                    throw error(ErrorKind::runtime, "half way");
                  }),
                  Error);
  run_recorded(count);  // joins nothing
  CHECK(calls == 4);
  recorded.repeat();
  CHECK(calls == 6);
  CHECK(RecordedCalls().empty());
}

}  // namespace moe
