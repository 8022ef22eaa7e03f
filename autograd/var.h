#pragma once
// A value on the tape, and the place where its gradient is added up.

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/arena.h"
#include "core/tensor.h"
#include "kernels/into.h"

namespace moe {

// What is known of a parameter's gradient besides its elements.
struct GradState {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

  bool empty = false;              // nothing has been accumulated, whatever the elements are
  double squares = kUnknown;       // the sum of the elements' squares, where backward had it at hand
  std::vector<kernels::Gap> gaps;  // where a kernel that assigned it has left it unwritten

  // Zeros for all elements of `grad` that nothing has been accumulated into; forgets the squares.
  void settle(const Tensor& grad);
};

// The gradient of one value: the sum of what backward kernels put into it.
class GradSlot {
 public:
  GradSlot() = default;  // of a value that needs no gradient

  bool needed() const { return slot_ != nullptr; }
  // Whether both are needed and are one gradient.
  bool same(const GradSlot& other) const;
  // The tensor to accumulate into, zero-filled at its first use; undefined when no gradient is needed, whose
  // data<T>() is nullptr, which kernels take as "skip this one".
  Tensor accumulate() const;
  // The same for kernels that can write as well as add: where nothing has been accumulated, `add` is false
  // and the memory uninitialised. Of one slot that a kernel is given twice, only the first is such.
  struct Target {
    Tensor grad;
    bool add = true;
    // Of a parameter's gradient that is assigned: a kernel may leave the sum of the squares of the elements
    // here. It is forgotten as soon as something is added.
    double* squares = nullptr;
    // Likewise: a kernel may leave elements that nothing is added to unwritten, and say here which.
    std::vector<kernels::Gap>* gaps = nullptr;
    template <class T>
    kernels::Into<T> into() const {
      return {grad.data<T>(), add};
    }
  };
  Target target() const;
  // What has been accumulated so far; undefined when nothing has.
  Tensor get() const;

 private:
  friend class Var;
  friend class Tape;
  struct Slot {
    Tensor grad;
    Shape shape;
    DType dtype;
    std::optional<Arena> arena;        // not of a parameter, whose gradient's memory is there already
    std::shared_ptr<GradState> state;  // of a parameter
  };
  explicit GradSlot(std::shared_ptr<Slot> slot) : slot_(std::move(slot)) {}
  std::shared_ptr<Slot> slot_;
};

// A tensor that training changes. Its gradient lives as long as it does. Copies share all of it.
struct Parameter {
  std::string name;
  Tensor value, grad;
  std::shared_ptr<GradState> state;  // nullptr without a gradient

  // Uninitialised value; zero gradient, or none.
  static Parameter create(std::string name, const Shape& shape, DType dtype, Device device = Device::cpu,
                          bool gradient = true);

  // From now on grad holds nothing: the next gradient is assigned, which takes less memory traffic than
  // adding it to zeros. Until then the elements of grad mean nothing.
  void forget() const;
  // Zeros for what is forgotten and got no gradient since, be it all of grad or an expert without tokens.
  // Before grad is read, or written by anybody but the tape.
  void settle() const;
  // The sum of the squares of grad, if the kernel that assigned it has left one that is not NaN, and nothing
  // was added since.
  std::optional<double> squares() const;
};

// A value that takes less time to compute again than it would take memory to keep until backward.
class Recomputation {
 public:
  // compute() returns the value, the same bits every time.
  explicit Recomputation(std::function<Tensor()> compute) : compute_(std::move(compute)) {}

  // Computed at the first call, kept for the others.
  const Tensor& value() {
    if (!value_.defined()) value_ = compute_();
    return value_;
  }

 private:
  std::function<Tensor()> compute_;
  Tensor value_;
};

// What backward captures of a value that it reads.
class Saved {
 public:
  explicit Saved(Tensor value) : value_(std::move(value)) {}
  explicit Saved(std::shared_ptr<Recomputation> again) : again_(std::move(again)) {}
  const Tensor& value() const { return again_ ? again_->value() : value_; }

 private:
  Tensor value_;
  std::shared_ptr<Recomputation> again_;
};

class Var {
 public:
  Var() = default;
  // An input without gradient, and why: Var::constant(mask, "causal mask").
  static Var constant(Tensor value, const char* why);
  static Var parameter(const Parameter& p);

  bool defined() const { return value_.defined(); }
  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  int64_t size(int axis) const { return value_.size(axis); }
  DType dtype() const { return value_.dtype(); }
  // Capture this alone where backward does not need the value: the value's memory is then free to go.
  const GradSlot& grad() const { return grad_; }
  // Capture this instead of the Var where backward needs the value: it may be computed again instead of kept.
  Saved saved() const { return again_ ? Saved(again_) : Saved(value_); }
  void recompute(std::shared_ptr<Recomputation> again) { again_ = std::move(again); }

 private:
  friend class Tape;
  Var(Tensor value, GradSlot grad) : value_(std::move(value)), grad_(std::move(grad)) {}
  Tensor value_;
  GradSlot grad_;
  std::shared_ptr<Recomputation> again_;
};

}  // namespace moe
