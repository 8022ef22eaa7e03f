#pragma once
// A text without any structure, where only its size counts.

#include "core/philox.h"
#include "model/data.h"

namespace moe::test {

// 100,000 ids below `symbols`.
inline Corpus random_text(int64_t symbols) {
  Corpus corpus;
  for (uint64_t i = 0; i < 100'000; ++i)
    corpus.ids.push_back(static_cast<int32_t>(random_u32({.seed = 1}, i) % static_cast<uint64_t>(symbols)));
  return corpus;
}

}  // namespace moe::test
