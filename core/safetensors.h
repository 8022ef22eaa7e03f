#pragma once
// Files of named tensors in the safetensors format: 8 bytes with the length of the header (little endian),
// the header as JSON, the data. Written so that any reader of the format takes them; read as if an enemy
// wrote them.

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/tensor.h"

namespace moe {

using Metadata = std::map<std::string, std::string>;

struct NamedTensor {
  std::string name;
  Tensor tensor;  // on Device::cpu
};

// The file's bytes: a header of its own and the tensors' data where it lies. Valid while the tensors are.
class SafetensorsImage {
 public:
  // The header holds `metadata` and two entries more: "format": "pt", which other readers ask for, and
  // "data_crc32c", the checksum of the data. The same tensors give the same bytes, whatever their order.
  SafetensorsImage(std::span<const NamedTensor> tensors, Metadata metadata);
  SafetensorsImage(const SafetensorsImage&) = delete;
  SafetensorsImage& operator=(const SafetensorsImage&) = delete;

  std::span<const Bytes> pieces() const { return pieces_; }

 private:
  std::string head_;  // length and header
  std::vector<Bytes> pieces_;
};

// Replaces the file in one move. Throws ErrorKind::resource.
void write_safetensors(const std::filesystem::path&, std::span<const NamedTensor> tensors,
                       Metadata metadata = {});

// A file whose header and checksum have been looked at. Its data stays where it is until it is asked for: in
// the file, which stays open, or in the bytes that were parsed.
class Safetensors {
 public:
  struct Entry {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
    uint64_t begin = 0, end = 0;  // of its bytes, counted from the start of the data
  };

  // Both throw ErrorKind::checkpoint, naming the file and what is wrong with it.
  static Safetensors read(const std::filesystem::path&);
  static Safetensors parse(std::string bytes, std::string origin);

  const std::string& origin() const { return origin_; }
  const Metadata& metadata() const { return metadata_; }
  const std::vector<Entry>& entries() const& { return entries_; }  // sorted by name
  const std::vector<Entry>& entries() && = delete;                 // not of a temporary
  const Entry* find(const std::string& name) const;                // nullptr when there is none
  std::vector<std::byte> bytes(const Entry&) const;
  uint32_t checksum() const { return checksum_from(0); }  // CRC-32C of the whole file, which is read
  // Throws ErrorKind::checkpoint unless the file has a tensor of this name, shape and type.
  void check(const std::string& name, const Shape&, DType) const;
  // Copies of a tensor: a new one, or into one of the same shape and type on any device.
  // Throw ErrorKind::checkpoint when the file has no such tensor.
  Tensor tensor(const std::string& name) const;
  void copy_to(const std::string& name, const Tensor& target) const;

 private:
  void open();  // looks at everything
  uint64_t size() const;
  uint32_t checksum_from(uint64_t begin) const;
  // The bytes of the file from `offset` on.
  void read_at(uint64_t offset, std::span<std::byte> to) const;
  const Entry& at(const std::string& name) const;

  std::string origin_;
  std::shared_ptr<const InputFile> file_;  // or, when there is none,
  std::string memory_;
  uint64_t data_begin_ = 0;
  Metadata metadata_;
  std::vector<Entry> entries_;
};

}  // namespace moe
