#pragma once
// The step arena: memory for activations and gradients.
//
// Tensors come from one block, by first fit over a free list, and go back when their last reference dies. The
// same sequence of requests gives the same addresses, so after the first step nothing is asked of the system.
// On Device::meta the arena only counts: peak_bytes() of a dry run is the memory the real run needs.

#include <memory>

#include "core/tensor.h"

namespace moe {

class Arena {
 public:
  // `reserve_bytes` are taken from the system at once; more is taken when they do not suffice.
  explicit Arena(Device device, int64_t reserve_bytes = 0);
  // One that counts on Device::meta what a run on `device` takes.
  static Arena planning(Device device);

  // Uninitialised. May outlive the arena: the block lives as long as any tensor of it.
  Tensor allocate(const Shape& shape, DType dtype);

  // From here on AddressSanitizer no longer hears what goes back: a graph that was captured
  // (core/cuda_graph.h) uses this memory whenever it is launched.
  void lend_to_graph();

  Device device() const;
  // Where the kernels run whose memory this is or counts: device(), but of an arena that plans what it plans
  // for, the CPU unless told otherwise.
  Device kernels_on() const;
  int64_t bytes_in_use() const;
  int64_t peak_bytes() const;      // the most that was ever in use, holes included
  int64_t reserved_bytes() const;  // what was taken from the system

  class Pool;

 private:
  explicit Arena(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}
  std::shared_ptr<Pool> pool_;
};

}  // namespace moe
