#pragma once
// A tensor: a row-major, contiguous view of a piece of storage. Copying one copies the view, not the data.

#include <cstring>
#include <memory>
#include <span>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace moe {

// A block of memory on a device. The last tensor that refers to it frees it (or hands it back to its arena).
class Storage {
 public:
  // `bytes` of memory on `device`, 64-byte aligned, uninitialised; on Device::meta none.
  // Throws ErrorKind::resource when the system has no more.
  static std::shared_ptr<Storage> allocate(int64_t bytes, Device device);

  Storage(void* data, int64_t bytes, Device device) : data_(data), bytes_(bytes), device_(device) {}
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  // Whether its elements were rearranged for matrix products (pack_weights) and no longer lie row by row.
  bool packed() const { return packed_; }
  void set_packed() { packed_ = true; }

 private:
  void* data_;
  int64_t bytes_;
  Device device_;
  bool packed_ = false;
};

// How often Storage::allocate has asked the system for memory since the program started. Tests hold it still
// while training runs: a steady step allocates nothing.
int64_t system_allocations();

class Tensor {
 public:
  Tensor() = default;  // undefined: no shape, no data
  Tensor(std::shared_ptr<Storage> storage, const Shape& shape, DType dtype, int64_t byte_offset = 0);

  // A tensor with storage of its own: uninitialised, zeros, or a copy of host values.
  static Tensor empty(const Shape& shape, DType dtype, Device device = Device::cpu);
  static Tensor zeros(const Shape& shape, DType dtype, Device device = Device::cpu);
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape) {
    Tensor t = empty(shape, dtype_of<T>());
    require(static_cast<int64_t>(values.size()) == t.numel(), "tensor: {} values for shape {}", values.size(),
            shape);
    if (!values.empty()) std::memcpy(t.bytes_begin(), values.data(), values.size_bytes());
    return t;
  }

  // A view of host memory that others own, for as long as they keep it.
  static Tensor over(void* data, const Shape& shape, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  // Whether no other tensor shares its storage.
  bool alone() const { return storage_.use_count() == 1; }
  const Shape& shape() const { return shape_; }
  int64_t size(int axis) const { return shape_[axis]; }
  int64_t numel() const { return numel_; }
  int64_t nbytes() const { return numel_ * static_cast<int64_t>(size_of(dtype_)); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : Device::meta; }

  // Whether its elements no longer lie row by row, see pack_weights.
  bool packed() const { return storage_ && storage_->packed(); }
  void set_packed() const { storage_->set_packed(); }

  // The first element, or nullptr when the tensor is undefined or on Device::meta.
  // Throws ErrorKind::runtime when T is not the tensor's element type, or the tensor is packed.
  template <class T>
  T* data() const {
    require_rows();
    return packed_data<T>();
  }
  // The same for who reads packed tensors as well.
  template <class T>
  T* packed_data() const {
    if (!defined() || device() == Device::meta) return nullptr;
    require(dtype_ == dtype_of<T>(), "tensor: holds {}, asked for {}", name_of(dtype_),
            name_of(dtype_of<T>()));
    return reinterpret_cast<T*>(first_byte());
  }
  template <class T>
  std::span<T> span() const {
    T* p = data<T>();
    return {p, p ? static_cast<size_t>(numel_) : 0};
  }
  // As data() is, whatever the type.
  std::byte* bytes_begin() const {
    require_rows();
    return first_byte();
  }

  // The same elements under another shape; the number of elements must agree.
  Tensor reshape(const Shape& shape) const;
  // Rows [begin, end) of the first axis, a view.
  Tensor rows(int64_t begin, int64_t end) const;

  void fill_zero() const;
  // Same shape and type. Between host and GPU it waits until all is copied; on the GPU it is part of the
  // stream.
  void copy_from(const Tensor& source) const;
  // These elements on that device: this tensor if it lies there, else a copy with storage of its own.
  Tensor to(Device) const;

 private:
  void require_rows() const {
    require(!packed(), "tensor: its elements are packed for matrix products and do not lie row by row");
  }
  std::byte* first_byte() const {
    return storage_ && storage_->data() ? static_cast<std::byte*>(storage_->data()) + byte_offset_ : nullptr;
  }

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  int64_t numel_ = 0;
  int64_t byte_offset_ = 0;
  DType dtype_ = DType::f32;
};

// write(host) fills `to` itself, or where that lies on another device a tensor like it, which is then copied.
template <class Write>
void write_from_host(const Tensor& to, Write write) {
  if (to.device() == Device::cpu) return write(to);
  const Tensor host = Tensor::empty(to.shape(), to.dtype());
  write(host);
  to.copy_from(host);
}

}  // namespace moe
