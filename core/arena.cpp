#include "core/arena.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)  // gcc
#define MOE_ADDRESS_SANITIZER
#elif defined(__has_feature)  // clang
#if __has_feature(address_sanitizer)
#define MOE_ADDRESS_SANITIZER
#endif
#endif
#ifdef MOE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace moe {
namespace {

constexpr int64_t kAlignment = 64;

// AddressSanitizer knows which parts of a block are leased, and so finds a kernel that leaves its tensor or
// uses one that has gone back. Without the sanitizer these do nothing.
void forbid([[maybe_unused]] std::byte* data, [[maybe_unused]] int64_t bytes) {
#ifdef MOE_ADDRESS_SANITIZER
  if (data) ASAN_POISON_MEMORY_REGION(data, static_cast<size_t>(bytes));
#endif
}
void permit([[maybe_unused]] std::byte* data, [[maybe_unused]] int64_t bytes) {
#ifdef MOE_ADDRESS_SANITIZER
  if (data) ASAN_UNPOISON_MEMORY_REGION(data, static_cast<size_t>(bytes));
#endif
}

}  // namespace

// Offsets run through all blocks as if they were one; a tensor never spans two of them.
class Arena::Pool {
 public:
  Pool(Device device, Device kernels_on, int64_t reserve_bytes) : device_(device), kernels_on_(kernels_on) {
    if (device_ == Device::meta)
      free_.push_back({0, INT64_MAX});
    else if (reserve_bytes > 0)
      grow(reserve_bytes);
  }

  std::pair<int64_t, std::byte*> take(int64_t bytes) {
    auto hole = std::find_if(free_.begin(), free_.end(), [&](const Hole& h) { return h.bytes >= bytes; });
    if (hole == free_.end()) hole = grow(bytes);
    const int64_t offset = hole->offset;
    *hole = {offset + bytes, hole->bytes - bytes};
    if (hole->bytes == 0) free_.erase(hole);
    in_use_ += bytes;
    peak_ = std::max(peak_, offset + bytes);
    return {offset, address(offset)};
  }

  void give_back(int64_t offset, int64_t bytes) {
    if (!lent_) forbid(address(offset), bytes);
    in_use_ -= bytes;
    const auto hole =
        free_.insert(std::ranges::lower_bound(free_, offset, {}, &Hole::offset), {offset, bytes});
    merge(hole);
    if (hole != free_.begin()) merge(std::prev(hole));
  }

  void lend() {
    lent_ = true;
    for (const Block& b : blocks_) permit(static_cast<std::byte*>(b.storage->data()), b.end - b.begin);
  }

  ~Pool() { lend(); }

  Device device() const { return device_; }
  Device kernels_on() const { return kernels_on_; }
  int64_t in_use() const { return in_use_; }
  int64_t peak() const { return peak_; }
  int64_t reserved() const { return blocks_.empty() ? 0 : blocks_.back().end; }

 private:
  struct Block {
    int64_t begin, end;
    std::shared_ptr<Storage> storage;
  };
  struct Hole {
    int64_t offset, bytes;
  };
  using Holes = std::vector<Hole>;  // by offset

  Holes::iterator grow(int64_t bytes) {
    if (device_ == Device::meta)
      throw error(ErrorKind::resource, "more memory would be needed than can be counted");
    const int64_t begin = reserved();
    blocks_.push_back({begin, begin + bytes, Storage::allocate(bytes, device_)});
    if (!lent_) forbid(address(begin), bytes);
    return free_.insert(free_.end(), {begin, bytes});
  }

  bool starts_block(int64_t offset) const {
    return std::any_of(blocks_.begin(), blocks_.end(), [&](const Block& b) { return b.begin == offset; });
  }

  // With the hole behind it, if nothing lies between them.
  void merge(Holes::iterator left) {
    const auto right = std::next(left);
    if (right == free_.end() || left->offset + left->bytes != right->offset || starts_block(right->offset))
      return;
    left->bytes += right->bytes;
    free_.erase(right);
  }

  std::byte* address(int64_t offset) const {
    for (const Block& b : blocks_)
      if (offset < b.end) return static_cast<std::byte*>(b.storage->data()) + (offset - b.begin);
    return nullptr;
  }

  Device device_, kernels_on_;
  std::vector<Block> blocks_;
  Holes free_;
  int64_t in_use_ = 0, peak_ = 0;
  bool lent_ = false;  // to a graph
};

namespace {

struct Lease final : Storage {
  Lease(std::shared_ptr<Arena::Pool> pool, int64_t offset, int64_t leased, void* data, int64_t bytes)
      : Storage(data, bytes, pool->device()), pool_(std::move(pool)), offset_(offset), leased_(leased) {}
  ~Lease() override { pool_->give_back(offset_, leased_); }

 private:
  std::shared_ptr<Arena::Pool> pool_;
  int64_t offset_, leased_;
};

}  // namespace

Arena::Arena(Device device, int64_t reserve_bytes)
    : pool_(std::make_shared<Pool>(device, device == Device::meta ? Device::cpu : device, reserve_bytes)) {}

Arena Arena::planning(Device device) {
  return Arena(std::make_shared<Pool>(Device::meta, device, 0));
}

Tensor Arena::allocate(const Shape& shape, DType dtype) {
  int64_t bytes = 0, leased = 0;
  if (__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &bytes) ||
      __builtin_add_overflow(bytes, kAlignment, &leased))
    throw error(ErrorKind::resource, "a tensor of shape {} does not fit into any memory", shape);
  leased = std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  const auto [offset, data] = pool_->take(leased);
  permit(data, bytes);
  return {std::make_shared<Lease>(pool_, offset, leased, data, bytes), shape, dtype};
}

void Arena::lend_to_graph() {
  pool_->lend();
}
Device Arena::device() const {
  return pool_->device();
}
Device Arena::kernels_on() const {
  return pool_->kernels_on();
}
int64_t Arena::bytes_in_use() const {
  return pool_->in_use();
}
int64_t Arena::peak_bytes() const {
  return pool_->peak();
}
int64_t Arena::reserved_bytes() const {
  return pool_->reserved();
}

}  // namespace moe
