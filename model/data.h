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
  // All ids [M], i32, on that device: on Device::cpu a view of this corpus, which must outlive it.
  Tensor tensor(Device) const;
  // How many of them train.
  int64_t training_ids() const { return static_cast<int64_t>(split()); }
  // Throws ErrorKind::data, naming `origin`, unless both parts hold more than block_size tokens.
  void require_blocks(int64_t block_size, const std::string& origin) const;

 private:
  size_t split() const { return ids.size() * 9 / 10; }
};

// Sequences first .. first + B - 1 of a stream: tokens [B, T] start at independent uniform places of `ids`
// [M], targets [B, T] are the tokens one place later. All i32 and on one device.
void draw_sequences(const Tensor& ids, const RngAddress& rng, int64_t first, const Tensor& tokens,
                    const Tensor& targets);

// The same of sequences that follow one another: sequence i starts at i * T.
void take_sequences(const Tensor& ids, int64_t first, const Tensor& tokens, const Tensor& targets);

}  // namespace moe
