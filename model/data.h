#pragma once
// Batches from a text of token ids.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/philox.h"
#include "core/tensor.h"

namespace moe {

// The first int(0.9 n) ids train, the rest validate.
struct Corpus {
  std::vector<int32_t> ids;

  std::span<const int32_t> train() const { return std::span(ids).first(split()); }
  std::span<const int32_t> validation() const { return std::span(ids).subspan(split()); }
  // Throws ErrorKind::data, naming `origin`, unless both parts hold more than block_size tokens.
  void require_blocks(int64_t block_size, const std::string& origin) const;

 private:
  size_t split() const { return ids.size() * 9 / 10; }
};

// Sequences first .. first + B - 1 of a stream: tokens [B, T] start at independent uniform places of `ids`,
// targets [B, T] are the tokens one place later. Both i32.
void draw_sequences(std::span<const int32_t> ids, const RngAddress& rng, int64_t first, const Tensor& tokens,
                    const Tensor& targets);

// The same of sequences that follow one another: sequence i starts at i * T.
void take_sequences(std::span<const int32_t> ids, int64_t first, const Tensor& tokens, const Tensor& targets);

}  // namespace moe
