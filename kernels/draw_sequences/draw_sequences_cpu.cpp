#include <algorithm>

#include "kernels/draw_sequences/draw_sequences.h"

namespace moe::kernels::cpu {

void draw_sequences(SequencesShape s, const RngAddress& rng, const int32_t* ids, int32_t* tokens,
                    int32_t* targets) {
  for (int64_t b = 0; b < s.batch; ++b) {
    const int32_t* start = ids + random_below(rng, static_cast<uint64_t>(s.first + b), s.ids - s.length);
    std::copy_n(start, s.length, tokens + b * s.length);
    std::copy_n(start + 1, s.length, targets + b * s.length);
  }
}

}  // namespace moe::kernels::cpu
