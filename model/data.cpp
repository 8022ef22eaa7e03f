#include "model/data.h"

#include <algorithm>

#include "model/streams.h"

namespace moe {

void Corpus::require_blocks(int64_t block_size, const std::string& origin) const {
  const auto shortest = static_cast<int64_t>(std::min(train().size(), validation().size()));
  if (shortest <= block_size)
    throw error(
        ErrorKind::data,
        "{}: too short: its {} tokens are split 9:1 for training and validation, and each part must be "
        "longer than --block-size {}; at least {} tokens are needed",
        origin, ids.size(), block_size, 10 * block_size + 10);
}

void draw_sequences(std::span<const int32_t> ids, const RngAddress& rng, int64_t first, const Tensor& tokens,
                    const Tensor& targets) {
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const auto places = static_cast<int64_t>(ids.size()) - length;
  require(places > 0, "draw_sequences: {} ids are no more than a sequence of {}", ids.size(), length);
  int32_t* x = tokens.data<int32_t>();
  int32_t* y = targets.data<int32_t>();
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t* start = ids.data() + random_below(rng, static_cast<uint64_t>(first + b), places);
    std::copy_n(start, length, x + b * length);
    std::copy_n(start + 1, length, y + b * length);
  }
}

void take_sequences(std::span<const int32_t> ids, int64_t first, const Tensor& tokens,
                    const Tensor& targets) {
  const int64_t begin = first * tokens.size(1), count = tokens.numel();
  require(begin + count < static_cast<int64_t>(ids.size()), "take_sequences: {} ids behind {} are not there",
          count + 1, begin);
  std::copy_n(ids.data() + begin, count, tokens.data<int32_t>());
  std::copy_n(ids.data() + begin + 1, count, targets.data<int32_t>());
}

}  // namespace moe
