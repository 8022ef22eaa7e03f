#pragma once
// A router's noise, as gating and load_loss hand it to their kernels.

#include "autograd/ops.h"
#include "kernels/gating/gating.h"

namespace moe::detail {

// Checks logits, noise_logits (undefined: a router without noise) and k, for the operation `op`.
inline kernels::GatingShape router_shape(const char* op, const Var& logits, const Var& noise_logits,
                                         int64_t k) {
  require(logits.shape().rank() == 2, "{}: logits must be [N, E], got {}", op, logits.shape());
  require(!noise_logits.defined() || noise_logits.shape() == logits.shape(),
          "{}: noise_logits must be {}, got {}", op, logits.shape(), noise_logits.shape());
  require(1 <= k && k <= logits.size(1), "{}: k must be in [1, {}], got {}", op, logits.size(1), k);
  return {logits.size(0), logits.size(1), k};
}

class NoiseSource {
 public:
  NoiseSource(Tape& tape, const char* op, const Var& noise_logits, const Noise& noise)
      : noise_logits_(noise_logits.value()), normals_(noise.values), rng_(noise.rng) {
    if (!noise_logits.defined()) return;
    drawn_ = !noise.values.defined();
    if (drawn_) normals_ = tape.empty(noise_logits.shape(), noise_logits.dtype());
    require(normals_.shape() == noise_logits.shape() && normals_.dtype() == noise_logits.dtype(),
            "{}: noise must be {} {}, got {} {}", op, name_of(noise_logits.dtype()), noise_logits.shape(),
            name_of(normals_.dtype()), normals_.shape());
  }

  template <class T>
  kernels::RouterNoise<T> get() const {
    T* normals = normals_.data<T>();
    return {noise_logits_.data<T>(), drawn_ ? nullptr : normals, drawn_ ? normals : nullptr, rng_};
  }

 private:
  Tensor noise_logits_;
  Tensor normals_;  // recorded, or where forward draws them
  RngAddress rng_;
  bool drawn_ = false;
};

}  // namespace moe::detail
