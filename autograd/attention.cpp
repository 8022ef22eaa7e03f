#include "kernels/attention/attention.h"

#include "autograd/dispatch.h"
#include "autograd/fused.h"
#include "autograd/ops.h"

namespace moe {
namespace {

kernels::AttentionShape attention_shape(const Tape& tape, const Var& qkv, const AttentionOptions& o) {
  require(o.batch > 0 && o.heads > 0, "attention: batch and heads must be positive, got {} and {}", o.batch,
          o.heads);
  require(qkv.shape().rank() == 2 && qkv.size(0) % o.batch == 0 && qkv.size(1) % (3 * o.heads) == 0,
          "attention: qkv must be [{}*T, 3*{}*D], got {}", o.batch, o.heads, qkv.shape());
  const bool training = tape.mode() == Mode::train;
  require(!training || (!o.cache.defined() && o.past == 0 && o.queries == 0),
          "attention: cache, past and queries are for inference");

  kernels::AttentionShape s;
  s.batch = o.batch;
  s.heads = o.heads;
  s.dim = qkv.size(1) / (3 * o.heads);
  s.tokens = qkv.size(0) / o.batch;
  s.past = o.past;
  s.queries = o.queries > 0 ? o.queries : s.tokens;
  s.scale = o.scale;
  s.rng = o.rng;
  s.drop = detail::drop_rule(tape, "attention", o.dropout);
  require(s.queries <= s.tokens, "attention: queries must be at most {}, got {}", s.tokens, o.queries);
  if (o.cache.defined()) {
    s.capacity = o.cache.shape().rank() == 3 ? o.cache.size(1) : 0;
    require(o.cache.shape() == Shape{s.batch, s.capacity, qkv.size(1)} && o.cache.dtype() == qkv.dtype(),
            "attention: cache must be {} [{}, capacity, {}], got {} {}", name_of(qkv.dtype()), s.batch,
            qkv.size(1), name_of(o.cache.dtype()), o.cache.shape());
    require(s.past >= 0 && s.past + s.tokens <= s.capacity,
            "attention: {} positions behind {} do not fit into a cache of {}", s.tokens, s.past, s.capacity);
  } else {
    require(s.past == 0, "attention: past must be 0 without a cache, got {}", s.past);
  }
  return s;
}

}  // namespace

Var attention(Tape& tape, const Var& qkv, const AttentionOptions& options) {
  const kernels::AttentionShape s = attention_shape(tape, qkv, options);
  const Tensor y = tape.empty({s.batch * s.queries, s.heads * s.dim}, qkv.dtype());
  const bool leaves_lse = tape.mode() == Mode::train || tape.kernels_on() != Device::cpu;
  const Tensor lse = leaves_lse ? tape.empty({s.batch, s.heads, s.queries}, qkv.dtype()) : Tensor();
  MOE_RUN(y, attention_forward, s, qkv.value().data<T>(), options.cache.data<T>(), y.data<T>(),
          lse.data<T>());
  return tape.record("attention", y, {qkv}, [s, qkv, y, lse](const Tensor& dy) {
    const GradSlot::Target dqkv = qkv.grad().target();
    MOE_RUN(dy, attention_backward, s, qkv.value().data<T>(), y.data<T>(), lse.data<T>(), dy.data<T>(),
            dqkv.into<T>());
  });
}

}  // namespace moe
