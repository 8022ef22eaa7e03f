#pragma once
// The tape: what was computed, in order, and how to go back.

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "autograd/var.h"

namespace moe {

enum class Mode {
  train,  // dropout, noise and capacity act; gradients can be asked for
  infer,  // none of that, and nothing is recorded
};

class Tape {
 public:
  using Backward = std::function<void(const Tensor& dy)>;

  Tape(Arena& arena, Mode mode) : arena_(arena), mode_(mode) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Mode mode() const { return mode_; }
  Device device() const { return arena_.device(); }
  Device kernels_on() const { return arena_.kernels_on(); }

  // Memory for a result or a workspace, from the arena. Uninitialised.
  Tensor empty(const Shape& shape, DType dtype) { return arena_.allocate(shape, dtype); }

  // Enters the result y of `op`. `backward` receives dL/dy and accumulates into the inputs' gradients; it is
  // kept only when the mode is train and some input needs a gradient. It must capture all it needs, and may
  // write over dL/dy where that is alone().
  template <class Function>
  Var record(const char* op, Tensor y, std::initializer_list<Var> inputs, Function&& backward) {
    if (!wanted(inputs)) return {std::move(y), GradSlot()};
    return record_wanted(op, std::move(y), inputs, std::forward<Function>(backward));
  }

  // The same for an operation with several results. `backward` receives their gradients in the order of the
  // results, as soon as one of them has got any; those that have none are undefined.
  using BackwardOfAll = std::function<void(std::span<const Tensor> dy)>;
  template <class Function>
  std::vector<Var> record_all(const char* op, std::initializer_list<Tensor> results,
                              std::initializer_list<Var> inputs, Function&& backward) {
    if (wanted(inputs)) return record_all_wanted(op, results, inputs, std::forward<Function>(backward));
    std::vector<Var> all;
    for (const Tensor& y : results) all.push_back({y, GradSlot()});
    return all;
  }

  // Lets y, the result of a record, be computed again in backward by compute() instead of kept for those that
  // capture Var::saved(). On a GPU, where one more kernel takes longer than what it computes, all is
  // kept.
  template <class Compute>
  void recompute_in_backward(Var& y, Compute&& compute) {
    if (y.grad().needed() && kernels_on() == Device::cpu)
      y.recompute(std::make_shared<Recomputation>(std::forward<Compute>(compute)));
  }

  // The same value with a gradient of its own, which backward adds to that of v. For operations that are
  // given one value twice and whose kernels write both gradients at the same time.
  Var apart(const Var& v);

  // Accumulates d(sum dy·y)/dx into every value that y depends on, newest record first, and frees what each
  // record saved as it goes. The tape is empty afterwards. dy defaults to ones.
  void backward(const Var& y, const Tensor& dy = {});

  // Looks at every step of backward, for tests: called in place of the record's own function. dy is that of
  // the first result; the gradients of others are at hand when `run` is called.
  struct Step {
    const char* op;
    const std::vector<GradSlot>& inputs;
    const Backward& run;
    const Tensor& dy;
  };
  void intercept(std::function<void(const Step&)> observer) { observer_ = std::move(observer); }

 private:
  Var record_wanted(const char* op, Tensor y, std::initializer_list<Var> inputs, Backward backward);
  std::vector<Var> record_all_wanted(const char* op, std::initializer_list<Tensor> results,
                                     std::initializer_list<Var> inputs, BackwardOfAll backward);
  bool wanted(std::initializer_list<Var> inputs) const;
  GradSlot slot_for(const Tensor& y) const;
  void append(const char* op, std::vector<GradSlot> outputs, std::initializer_list<Var> inputs,
              Backward backward);

  struct Record {
    const char* op;
    std::vector<GradSlot> outputs;
    std::vector<GradSlot> inputs;
    Backward backward;
  };
  Arena arena_;
  Mode mode_;
  std::vector<Record> records_;
  std::function<void(const Step&)> observer_;
};

}  // namespace moe
