#include "kernels/dispatch_plan/dispatch_plan.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

DispatchPlan dispatch_plan(Tape& tape, const Tensor& expert, int64_t experts, int64_t capacity) {
  require(expert.shape().rank() == 2, "dispatch_plan: expert must be [N, k], got {}", expert.shape().str());
  const kernels::DispatchShape s{expert.size(0), expert.size(1), experts, capacity};
  DispatchPlan plan{s.tokens, s.topk, s.experts};
  plan.offsets = tape.empty({experts + 1}, DType::i32);
  plan.assignment = tape.empty({plan.rows()}, DType::i32);
  plan.row = tape.empty(expert.shape(), DType::i32);
  plan.count = tape.empty({experts}, DType::i32);
  if (expert.device() == Device::cpu)
    kernels::cpu::dispatch_plan(s, expert.data<int32_t>(), plan.offsets.data<int32_t>(),
                                plan.assignment.data<int32_t>(), plan.row.data<int32_t>(),
                                plan.count.data<int32_t>());
  return plan;
}

}  // namespace moe
