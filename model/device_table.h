#pragma once
// A table of kernels/segments.h in the memory of a GPU.

#include <vector>

#include "core/tensor.h"
#include "kernels/segments.h"

namespace moe {

class DeviceTable {
 public:
  DeviceTable() = default;  // of nothing
  template <class S>
  explicit DeviceTable(const std::vector<S>& pieces) : count_(static_cast<int64_t>(pieces.size())) {
    auto entries = kernels::table_entries(std::span(pieces), blocks_);
    constexpr size_t kEntry = sizeof(kernels::TableEntry<S>), kWord = sizeof(int64_t);
    static_assert(kEntry % kWord == 0);
    const Shape words{static_cast<int64_t>(entries.size() * kEntry / kWord)};
    entries_ = Tensor::empty(words, DType::i64, Device::cuda);
    entries_.copy_from(Tensor::over(entries.data(), words, DType::i64));
  }

  // S: that of the pieces. Valid while this lives.
  template <class S>
  kernels::SegmentTable<S> of() const {
    return {reinterpret_cast<const kernels::TableEntry<S>*>(entries_.bytes_begin()), count_, blocks_};
  }

 private:
  Tensor entries_;
  int64_t count_ = 0, blocks_ = 0;
};

}  // namespace moe
