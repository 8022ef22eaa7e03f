#include "autograd/tape.h"

#include <algorithm>
#include <cmath>

#include "autograd/dispatch.h"
#include "kernels/add/add.h"

namespace moe {
namespace {

// grad += dy, or += 1 when dy is undefined. The value may be a parameter, which holds a gradient already.
void add_seed(const Tensor& grad, const Tensor& dy) {
  const int64_t n = grad.numel();
  if (dy.defined())
    MOE_RUN(grad, add_backward, n, dy.data<T>(), grad.data<T>(), static_cast<T*>(nullptr));
  else
    MOE_RUN(grad, add_constant, n, 1.0, grad.data<T>());
}

}  // namespace

void GradState::settle(const Tensor& grad) {
  if (empty) grad.fill_zero();
  for (const auto& [begin, end] : gaps) grad.reshape({grad.numel()}).rows(begin, end).fill_zero();
  *this = {};
}

bool GradSlot::same(const GradSlot& other) const {
  if (!slot_ || !other.slot_) return false;
  return slot_ == other.slot_ || (slot_->state && slot_->state == other.slot_->state);
}

Tensor GradSlot::accumulate() const {
  const Target t = target();
  if (!t.add) t.grad.fill_zero();
  return t.grad;
}

GradSlot::Target GradSlot::target() const {
  if (!slot_) return {};
  const bool first = !get().defined();
  GradState* const state = slot_->state.get();
  if (!slot_->grad.defined()) slot_->grad = slot_->arena->allocate(slot_->shape, slot_->dtype);
  if (!state) return {slot_->grad, !first};
  if (!first) {
    state->settle(slot_->grad);
    return {slot_->grad};
  }
  *state = {};
  return {slot_->grad, false, &state->squares, &state->gaps};
}

Tensor GradSlot::get() const {
  return !slot_ || (slot_->state && slot_->state->empty) ? Tensor() : slot_->grad;
}

Parameter Parameter::create(std::string name, const Shape& shape, DType dtype, Device device, bool gradient) {
  Parameter p{std::move(name), Tensor::empty(shape, dtype, device), {}, {}};
  if (gradient) {
    p.grad = Tensor::zeros(shape, dtype, device);
    p.state = std::make_shared<GradState>();
  }
  return p;
}

void Parameter::forget() const {
  if (state) *state = {.empty = true};
}

void Parameter::settle() const {
  if (state) state->settle(grad);
}

std::optional<double> Parameter::squares() const {
  if (!state || std::isnan(state->squares)) return std::nullopt;
  return state->squares;
}

Var Var::constant(Tensor value, const char*) {
  return {std::move(value), GradSlot()};
}

Var Var::parameter(const Parameter& p) {
  if (!p.grad.defined()) return constant(p.value, "a parameter that is held fixed");
  using Slot = GradSlot::Slot;
  return {p.value,
          GradSlot(std::make_shared<Slot>(Slot{p.grad, p.value.shape(), p.value.dtype(), {}, p.state}))};
}

bool Tape::wanted(std::initializer_list<Var> inputs) const {
  return mode_ == Mode::train &&
         std::any_of(inputs.begin(), inputs.end(), [](const Var& v) { return v.grad().needed(); });
}

GradSlot Tape::slot_for(const Tensor& y) const {
  return GradSlot(std::make_shared<GradSlot::Slot>(GradSlot::Slot{{}, y.shape(), y.dtype(), arena_, {}}));
}

void Tape::append(const char* op, std::vector<GradSlot> outputs, std::initializer_list<Var> inputs,
                  Backward backward) {
  Record& r = records_.emplace_back(Record{op, std::move(outputs), {}, std::move(backward)});
  for (const Var& v : inputs) r.inputs.push_back(v.grad());
}

Var Tape::apart(const Var& v) {
  Var own = record("apart", v.value(), {v}, [grad = v.grad()](const Tensor& dy) {
    const Tensor dv = grad.accumulate();
    MOE_RUN(dy, add_backward, dy.numel(), dy.data<T>(), dv.data<T>(), static_cast<T*>(nullptr));
  });
  own.again_ = v.again_;
  return own;
}

Var Tape::record_wanted(const char* op, Tensor y, std::initializer_list<Var> inputs, Backward backward) {
  GradSlot output = slot_for(y);
  append(op, {output}, inputs, std::move(backward));
  return {std::move(y), std::move(output)};
}

std::vector<Var> Tape::record_all_wanted(const char* op, std::initializer_list<Tensor> results,
                                         std::initializer_list<Var> inputs, BackwardOfAll backward) {
  std::vector<Var> all;
  std::vector<GradSlot> outputs;
  for (const Tensor& y : results) {
    outputs.push_back(slot_for(y));
    all.push_back({y, outputs.back()});
  }
  append(op, outputs, inputs, [outputs, backward = std::move(backward)](const Tensor&) {
    std::vector<Tensor> dy;
    dy.reserve(outputs.size());
    for (const GradSlot& output : outputs) dy.push_back(output.get());
    backward(dy);
  });
  return all;
}

void Tape::backward(const Var& y, const Tensor& dy) {
  require(mode_ == Mode::train, "backward: the tape runs in inference mode and recorded nothing");
  require(y.grad().needed(), "backward: the result does not depend on anything that needs a gradient");
  require(!dy.defined() || (dy.shape() == y.shape() && dy.dtype() == y.dtype()),
          "backward: dy must be {} {}, got {} {}", name_of(y.dtype()), y.shape(), name_of(dy.dtype()),
          dy.shape());
  add_seed(y.grad().accumulate(), dy);
  for (; !records_.empty(); records_.pop_back()) {
    Record& r = records_.back();
    if (std::ranges::none_of(r.outputs, [](const GradSlot& g) { return g.get().defined(); })) continue;
    // Where nobody but the record can look at this gradient, backward gets the only reference to it.
    const auto& slot = r.outputs.front().slot_;
    const Tensor dout = slot.use_count() == 1 && !observer_ ? std::move(slot->grad) : slot->grad;
    if (observer_)
      observer_({r.op, r.inputs, r.backward, dout});
    else
      r.backward(dout);
  }
}

}  // namespace moe
