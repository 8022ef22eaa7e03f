#include "core/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "core/cuda_memory.h"
#include "core/parallel.h"
#include "core/recorded_calls.h"

namespace moe {
namespace {

constexpr int64_t kAlignment = 64;  // a cache line, and the widest vector register
// Large storages ask for pages of this size: matrix products walk through many rows at once, which takes more
// small pages than the processor remembers the addresses of.
constexpr int64_t kHugePage = int64_t{1} << 21;

std::atomic<int64_t> g_system_allocations{0};

struct HostStorage final : Storage {
  HostStorage(void* data, int64_t bytes) : Storage(data, bytes, Device::cpu) {}
  ~HostStorage() override { std::free(data()); }
};

#ifdef MOE_WITH_CUDA
struct CudaStorage final : Storage {
  explicit CudaStorage(int64_t bytes) : Storage(cuda::allocate(bytes), bytes, Device::cuda) {}
  ~CudaStorage() override { cuda::release(data()); }
};
#endif

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, int64_t bytes) {
#ifdef MOE_WITH_CUDA
  if (to_device == Device::cuda && from_device == Device::cuda)
    return cuda::copy_on_device(to, from, bytes, current_stream());
  if (to_device == Device::cuda) return cuda::copy_to_device(to, from, bytes, current_stream());
  if (from_device == Device::cuda) return cuda::copy_to_host(to, from, bytes, current_stream());
#endif
  require(to_device == Device::cpu && from_device == Device::cpu, "copy: this build has no CUDA");
  run_recorded([=] { std::memcpy(to, from, static_cast<size_t>(bytes)); });
}

}  // namespace

int64_t system_allocations() {
  return g_system_allocations.load();
}

std::shared_ptr<Storage> Storage::allocate(int64_t bytes, Device device) {
  if (device == Device::meta) return std::make_shared<Storage>(nullptr, bytes, device);
#ifdef MOE_WITH_CUDA
  if (device == Device::cuda) {
    ++g_system_allocations;
    return std::make_shared<CudaStorage>(bytes);
  }
#endif
  require(device == Device::cpu, "storage: this build has no memory on device {}", name_of(device));
  const bool large = bytes >= kHugePage;
  const size_t alignment = large ? kHugePage : kAlignment;
  const size_t rounded =
      (static_cast<size_t>(std::max<int64_t>(bytes, 1)) + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  if (!data)
    throw error(ErrorKind::resource, "out of memory: {:.1f} MiB more were needed",
                static_cast<double>(bytes) / (1 << 20));
  // A wish: where it is refused, all goes on with small pages.
  if (large) madvise(data, static_cast<size_t>(bytes) / kHugePage * kHugePage, MADV_HUGEPAGE);
  ++g_system_allocations;
  return std::make_shared<HostStorage>(data, bytes);
}

Tensor::Tensor(std::shared_ptr<Storage> storage, const Shape& shape, DType dtype, int64_t byte_offset)
    : storage_(std::move(storage)),
      shape_(shape),
      numel_(shape.numel()),
      byte_offset_(byte_offset),
      dtype_(dtype) {
  require(storage_ != nullptr, "tensor: an undefined one has no views");
  require(byte_offset >= 0 && byte_offset + nbytes() <= storage_->bytes(),
          "tensor: {} {} at byte {} does not fit into a storage of {} bytes", name_of(dtype), shape,
          byte_offset, storage_->bytes());
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &bytes))
    throw error(ErrorKind::resource, "a tensor of shape {} does not fit into any memory", shape);
  return {Storage::allocate(bytes, device), shape, dtype};
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill_zero();
  return t;
}

Tensor Tensor::over(void* data, const Shape& shape, DType dtype) {
  const int64_t bytes = shape.numel() * static_cast<int64_t>(size_of(dtype));
  return {std::make_shared<Storage>(data, bytes, Device::cpu), shape, dtype};
}

Tensor Tensor::reshape(const Shape& shape) const {
  require(shape.numel() == numel_, "reshape: {} to {} changes the number of elements", shape_, shape);
  return {storage_, shape, dtype_, byte_offset_};
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  require(shape_.rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0], "rows: [{}, {}) of {}", begin,
          end, shape_);
  std::array<int64_t, Shape::kMaxRank> extent{};
  std::copy(shape_.begin(), shape_.end(), extent.begin());
  const int64_t row_bytes = shape_[0] ? nbytes() / shape_[0] : 0;
  extent[0] = end - begin;
  return {storage_, Shape(std::span(extent.data(), static_cast<size_t>(shape_.rank()))), dtype_,
          byte_offset_ + begin * row_bytes};
}

void Tensor::fill_zero() const {
  constexpr int64_t kGrain = 1 << 16;
  std::byte* const p = bytes_begin();
  if (!p || !numel_) return;
#ifdef MOE_WITH_CUDA
  if (device() == Device::cuda) return cuda::fill_zero(p, nbytes(), current_stream());
#endif
  run_recorded([p, bytes = nbytes()] {
    parallel_ranges(bytes, kGrain, [p](int64_t begin, int64_t end) {
      std::memset(p + begin, 0, static_cast<size_t>(end - begin));
    });
  });
}

void Tensor::copy_from(const Tensor& source) const {
  require(shape_ == source.shape() && dtype_ == source.dtype(), "copy: {} {} from {} {}", name_of(dtype_),
          shape_, name_of(source.dtype()), source.shape());
  if (!numel_ || device() == Device::meta) return;
  require(source.bytes_begin() != nullptr, "copy: the source is on device {}", name_of(source.device()));
  copy_bytes(bytes_begin(), device(), source.bytes_begin(), source.device(), nbytes());
}

Tensor Tensor::to(Device device) const {
  if (!defined() || device == this->device()) return *this;
  Tensor copy = empty(shape_, dtype_, device);
  copy.copy_from(*this);
  return copy;
}

}  // namespace moe
