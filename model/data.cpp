#include "model/data.h"

#include <algorithm>

#include "autograd/dispatch.h"
#include "kernels/draw_sequences/draw_sequences.h"

namespace moe {

void Corpus::require_blocks(int64_t block_size, const std::string& origin) const {
  const auto shortest = static_cast<int64_t>(std::min(train().size(), validation().size()));
  if (shortest <= block_size)
    throw error(
        ErrorKind::data,
        "{}: too short: its {} tokens are split 9:1 for training and validation, and each part must be "
        "longer than --block-size {}; at least {} tokens are needed",
        origin, ids.size(), block_size, 10 * block_size + 1);
}

Tensor Corpus::tensor(Device device) const {
  // Nobody writes to it.
  return Tensor::over(const_cast<int32_t*>(ids.data()), {static_cast<int64_t>(ids.size())}, DType::i32)
      .to(device);
}

void draw_sequences(const Tensor& ids, const RngAddress& rng, int64_t first, const Tensor& tokens,
                    const Tensor& targets) {
  const kernels::SequencesShape s{ids.numel(), tokens.size(0), tokens.size(1), first};
  require(s.ids > s.length, "draw_sequences: {} ids are no more than a sequence of {}", s.ids, s.length);
  MOE_RUN(tokens, draw_sequences, s, rng, ids.data<int32_t>(), tokens.data<int32_t>(),
          targets.data<int32_t>());
}

void take_sequences(const Tensor& ids, int64_t first, const Tensor& tokens, const Tensor& targets) {
  const int64_t begin = first * tokens.size(1), count = tokens.numel();
  require(begin + count < ids.numel(), "take_sequences: {} ids behind {} are not there", count + 1, begin);
  tokens.copy_from(ids.rows(begin, begin + count).reshape(tokens.shape()));
  targets.copy_from(ids.rows(begin + 1, begin + 1 + count).reshape(targets.shape()));
}

}  // namespace moe
