#include "kernels/embedding/embedding.h"

#include "autograd/dispatch.h"
#include "autograd/ops.h"

namespace moe {

Var embedding(Tape& tape, const Var& table, const Tensor& ids) {
  require(table.shape().rank() == 2, "embedding: table must be [V, C], got {}", table.shape());
  require(ids.shape().rank() == 1 && ids.dtype() == DType::i32, "embedding: ids must be i32 [N], got {} {}",
          name_of(ids.dtype()), ids.shape());
  const kernels::EmbeddingShape s{.rows = ids.size(0), .symbols = table.size(0), .dim = table.size(1)};
  const Tensor y = tape.empty({s.rows, s.dim}, table.dtype());
  MOE_RUN(y, embedding_forward, s, table.value().data<T>(), ids.data<int32_t>(), y.data<T>());
  return tape.record("embedding", y, {table}, [s, ids, table_grad = table.grad()](const Tensor& dy) {
    const Tensor dtable = table_grad.accumulate();
    MOE_RUN(dy, embedding_backward, s, ids.data<int32_t>(), dy.data<T>(), dtable.data<T>());
  });
}

}  // namespace moe
