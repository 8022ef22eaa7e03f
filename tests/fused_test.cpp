// A fused operation gives the bits of its parts on the CPU: in results and in gradients, with dropout and
// without.

#include "autograd/ops.h"
#include "tests/catch.h"
#include "tests/op_run.h"
#include "tests/same_bits.h"

namespace moe::test {
namespace {

constexpr RngAddress kRng{.seed = 4, .step = 7, .stream = 1};

using Build = std::function<Var(Tape&, Inputs)>;

// Both ways of building the same from the same inputs.
void check_same_bits(const std::vector<CaseInput>& inputs, const Build& fused, const Build& parts) {
  const auto run = [&](const Build& build) {
    return run_case<float>({.op = "", .label = "", .inputs = inputs, .build = build, .reference = {}});
  };
  const auto a = run(fused), b = run(parts);
  CHECK(same_bits(a.y, b.y));
  for (size_t i = 0; i < inputs.size(); ++i) {
    INFO("gradient of " << inputs[i].name);
    CHECK(same_bits(a.gradient[i], b.gradient[i]));
  }
}

// Experts of 9 tokens, 2 of 4 each, in a capacity of 4.
DispatchPlan some_plan(Tape& tape) {
  return dispatch_plan(tape, ints(tape, {9, 2}, {0, 1, 1, 2, 0, 2, 1, 0, 0, 1, 2, 1, 0, 1, 0, 2, 1, 2}), 4,
                       4);
}

}  // namespace

TEST_CASE("add_layer_norm is dropout, add and layer_norm", "[fused][add_layer_norm]") {
  for (const double p : {0.0, 0.3})
    check_same_bits(
        {normal("x", {70, 37}), normal("y", {70, 37}), normal("gain", {37}), normal("bias", {37})},
        [=](Tape& tape, Inputs in) {
          const SumAndNorm r = add_layer_norm(tape, in[0], in[1], in[2], in[3], p, kRng);
          return add(tape, r.sum, silu(tape, r.norm));
        },
        [=](Tape& tape, Inputs in) {
          const Var sum = add(tape, in[0], dropout(tape, in[1], p, kRng));
          return add(tape, sum, silu(tape, layer_norm(tape, sum, in[2], in[3])));
        });
}

TEST_CASE("add_combine is dropout, combine and add", "[fused][combine]") {
  for (const double p : {0.0, 0.3})
    check_same_bits(
        {normal("x", {9, 37}), normal("rows", {18, 37}), normal("gate", {9, 2})},
        [=](Tape& tape, Inputs in) {
          return add_combine(tape, in[0], in[1], in[2], some_plan(tape), p, kRng);
        },
        [=](Tape& tape, Inputs in) {
          return add(tape, in[0], combine(tape, dropout(tape, in[1], p, kRng), in[2], some_plan(tape)));
        });
}

TEST_CASE("gathered_linear is gather, grouped_linear and the epilogue", "[fused][grouped_linear]") {
  for (const Epilogue epilogue : {Epilogue::none, Epilogue::relu, Epilogue::silu})
    check_same_bits(
        {normal("x", {9, 35}), normal("weight", {4, 19, 35}), normal("bias", {4, 19})},
        [=](Tape& tape, Inputs in) {
          return gathered_linear(tape, in[0], in[1], in[2], some_plan(tape), epilogue);
        },
        [=](Tape& tape, Inputs in) {
          const DispatchPlan plan = some_plan(tape);
          const Var h = grouped_linear(tape, gather(tape, in[0], plan), in[1], in[2], plan);
          return epilogue == Epilogue::relu ? relu(tape, h) : epilogue == Epilogue::silu ? silu(tape, h) : h;
        });
}

TEST_CASE("router_logits is two linear layers", "[fused][router_logits]") {
  check_same_bits(
      {normal("x", {40, 35}), normal("weight", {7, 35}), normal("bias", {7}), normal("noise", {7, 35}),
       normal("noise bias", {7})},
      [](Tape& tape, Inputs in) {
        const RouterLogits r = router_logits(tape, in[0], in[1], in[2], in[3], in[4]);
        return add(tape, r.logits, silu(tape, r.noise_logits));
      },
      [](Tape& tape, Inputs in) {
        const Var logits = linear(tape, in[0], in[1], in[2]);
        return add(tape, logits, silu(tape, linear(tape, in[0], in[3], in[4])));
      });
}

}  // namespace moe::test
