#pragma once
// A part of CUDA's cooperative groups: the block, and tiles of a warp with their collectives. Stands where
// kernels look for NVIDIA's header of this name.
//
// Left out: coalesced_threads(), since here lanes run one by one and none are "the active ones"; groups of
// several blocks or of the grid, since blocks run one after the other; memcpy_async.

#include "simt.h"

namespace cooperative_groups {

class thread_block {
 public:
  static void sync(const simt::Location& at = simt::Location::current()) { __syncthreads(at); }
  static unsigned thread_rank() {
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  }
  static unsigned num_threads() { return blockDim.x * blockDim.y * blockDim.z; }
  static unsigned size() { return num_threads(); }
  static dim3 group_index() { return blockIdx; }
  static dim3 thread_index() { return threadIdx; }
  static dim3 dim_threads() { return blockDim; }
};

inline thread_block this_thread_block() {
  return {};
}

// Size lanes of a warp, beginning at a multiple of Size.
template <unsigned Size, class Parent = thread_block>
class thread_block_tile {
  static_assert(Size > 0 && Size <= 32 && (Size & (Size - 1)) == 0,
                "a tile has 1, 2, 4, 8, 16 or 32 threads");

 public:
  static unsigned thread_rank() { return thread_block::thread_rank() % Size; }
  static constexpr unsigned num_threads() { return Size; }
  static constexpr unsigned size() { return Size; }
  // Which of the parent's tiles this is, and how many the parent has.
  static unsigned meta_group_rank() { return Parent().thread_rank() / Size; }
  static unsigned meta_group_size() { return (Parent().num_threads() + Size - 1) / Size; }

  static void sync(const simt::Location& at = simt::Location::current()) { __syncwarp(mask(), at); }

  template <class T>
  static T shfl(T value, int rank, const simt::Location& at = simt::Location::current()) {
    return __shfl_sync(mask(), value, rank, Size, at);
  }
  template <class T>
  static T shfl_up(T value, unsigned distance, const simt::Location& at = simt::Location::current()) {
    return __shfl_up_sync(mask(), value, distance, Size, at);
  }
  template <class T>
  static T shfl_down(T value, unsigned distance, const simt::Location& at = simt::Location::current()) {
    return __shfl_down_sync(mask(), value, distance, Size, at);
  }
  template <class T>
  static T shfl_xor(T value, unsigned bits, const simt::Location& at = simt::Location::current()) {
    return __shfl_xor_sync(mask(), value, static_cast<int>(bits), Size, at);
  }
  static int any(int predicate, const simt::Location& at = simt::Location::current()) {
    return __any_sync(mask(), predicate, at);
  }
  static int all(int predicate, const simt::Location& at = simt::Location::current()) {
    return __all_sync(mask(), predicate, at);
  }
  // Bit r: the thread of rank r in this tile.
  static unsigned ballot(int predicate, const simt::Location& at = simt::Location::current()) {
    return __ballot_sync(mask(), predicate, at) >> first_lane();
  }
  template <class T>
  static unsigned match_any(T value, const simt::Location& at = simt::Location::current()) {
    return __match_any_sync(mask(), value, at) >> first_lane();
  }

 private:
  static unsigned first_lane() { return thread_block::thread_rank() % 32 / Size * Size; }
  static unsigned mask() { return (Size == 32 ? simt::kAllLanes : (1u << Size % 32) - 1) << first_lane(); }
};

// Of a block, or of a larger tile.
template <unsigned Size, class Parent>
thread_block_tile<Size, Parent> tiled_partition(const Parent&) {
  return {};
}

template <class Group>
void sync(const Group&, const simt::Location& at = simt::Location::current()) {
  Group::sync(at);
}

}  // namespace cooperative_groups
