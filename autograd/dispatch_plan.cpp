#include "kernels/dispatch_plan/dispatch_plan.h"

#include <limits>

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

DispatchPlan dispatch_plan(Tape& tape, const Tensor& expert, int64_t experts, int64_t capacity) {
  require(expert.shape().rank() == 2 && expert.dtype() == DType::i32,
          "dispatch_plan: expert must be i32 [N, k], got {} {}", name_of(expert.dtype()), expert.shape());
  require(experts >= 1, "dispatch_plan: experts must be at least 1, got {}", experts);
  require(capacity >= 0 || capacity == kNoCapacity, "dispatch_plan: capacity must not be negative, got {}",
          capacity);
  const kernels::DispatchShape s{expert.size(0), expert.size(1), experts, capacity};
  DispatchPlan plan{s.tokens, s.topk, s.experts};
  require(plan.rows() <= std::numeric_limits<int32_t>::max(), "dispatch_plan: {} assignments are too many",
          plan.rows());
  plan.offsets = tape.empty({experts + 1}, DType::i32);
  plan.assignment = tape.empty({plan.rows()}, DType::i32);
  plan.row = tape.empty(expert.shape(), DType::i32);
  plan.count = tape.empty({experts}, DType::i32);
  MOE_RUN(expert, dispatch_plan, s, expert.data<int32_t>(), plan.offsets.data<int32_t>(),
          plan.assignment.data<int32_t>(), plan.row.data<int32_t>(), plan.count.data<int32_t>());
  return plan;
}

}  // namespace moe
