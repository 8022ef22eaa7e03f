#include "core/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/crc32c.h"
#include "core/quote.h"
#include "core/safetensors_header.h"

namespace moe {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little endian, and data is not swapped");

constexpr uint64_t kMaxHeader = 100'000'000;    // the format's own limit
constexpr uint64_t kPiece = uint64_t{1} << 20;  // bytes at once where the whole file is read
constexpr const char* kChecksum = "data_crc32c";

using Entry = Safetensors::Entry;

std::string_view word_of(DType t) {
  const auto& words = detail::kDtypeWords;
  return std::find_if(words.begin(), words.end(), [&](auto& w) { return w.second == t; })->first;
}

template <class... Args>
[[noreturn]] void fail(const std::string& origin, fmt::format_string<Args...> format, Args&&... args) {
  throw error(ErrorKind::checkpoint, "{}: {}", origin, fmt::format(format, std::forward<Args>(args)...));
}

// False when the shape holds more bytes than can be counted.
bool count_bytes(const Entry& e, uint64_t& bytes) {
  bytes = size_of(e.dtype);
  for (const int64_t extent : e.shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) return false;
  return true;
}

// The tensors must cover the data exactly: in order, without a hole, without an overlap. Reorders `entries`.
void check_layout(std::vector<Entry>& entries, uint64_t data_bytes, const std::string& origin) {
  for (const Entry& e : entries) {
    if (e.begin > e.end) fail(origin, "tensor {} ends before it begins", in_quotes(e.name));
    uint64_t bytes = 0;
    if (!count_bytes(e, bytes) || bytes != e.end - e.begin)
      fail(origin, "tensor {} of type {} and shape {} does not fit its {} bytes", in_quotes(e.name),
           word_of(e.dtype), e.shape, e.end - e.begin);
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t end = 0;
  for (const Entry& e : entries) {
    if (e.begin != end)
      fail(origin, "tensor {} begins at byte {} of the data, not at {} where the one before it ends",
           in_quotes(e.name), e.begin, end);
    end = e.end;
  }
  if (end != data_bytes)
    fail(origin, "its tensors take {} bytes, but {} bytes of data are in the file", end, data_bytes);
}

void sort_by_name(std::vector<Entry>& entries, const std::string& origin) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  const auto twin = std::adjacent_find(entries.begin(), entries.end(),
                                       [](const Entry& a, const Entry& b) { return a.name == b.name; });
  if (twin != entries.end()) fail(origin, "tensor {} appears twice", in_quotes(twin->name));
}

// The order in the file: wide types first, so that each tensor is aligned to its elements, then by name.
std::vector<NamedTensor> in_file_order(std::span<const NamedTensor> tensors) {
  std::vector<NamedTensor> sorted(tensors.begin(), tensors.end());
  std::sort(sorted.begin(), sorted.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return std::pair(size_of(b.tensor.dtype()), std::string_view(a.name)) <
           std::pair(size_of(a.tensor.dtype()), std::string_view(b.name));
  });
  return sorted;
}

}  // namespace

SafetensorsImage::SafetensorsImage(std::span<const NamedTensor> tensors, Metadata metadata) {
  auto header = nlohmann::json::object();
  pieces_.emplace_back();  // the head's place
  uint64_t end = 0;
  uint32_t checksum = 0;
  for (const NamedTensor& t : in_file_order(tensors)) {
    require(t.tensor.defined() && t.tensor.device() == Device::cpu,
            "safetensors: tensor {} is not in host memory", t.name);
    require(t.name != "__metadata__" && !header.contains(t.name), "safetensors: two tensors are named {}",
            t.name);
    const Bytes data(t.tensor.bytes_begin(), static_cast<size_t>(t.tensor.nbytes()));
    header[t.name] = {{"dtype", word_of(t.tensor.dtype())},
                      {"shape", std::vector<int64_t>(t.tensor.shape().begin(), t.tensor.shape().end())},
                      {"data_offsets", {end, end + data.size()}}};
    end += data.size();
    checksum = crc32c(data, checksum);
    pieces_.push_back(data);
  }
  metadata["format"] = "pt";
  metadata[kChecksum] = fmt::format("{:08x}", checksum);
  header["__metadata__"] = std::move(metadata);

  std::string json = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  json.resize((json.size() + 7) / 8 * 8, ' ');
  require(json.size() <= kMaxHeader, "safetensors: the names of {} tensors do not fit into a header",
          tensors.size());
  const uint64_t length = json.size();
  head_.resize(sizeof length);
  std::memcpy(head_.data(), &length, sizeof length);
  head_ += json;
  pieces_[0] = as_bytes(head_);
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       Metadata metadata) {
  write_file(path, SafetensorsImage(tensors, std::move(metadata)).pieces());
}

Safetensors Safetensors::read(const std::filesystem::path& path) {
  Safetensors s;
  s.origin_ = path.string();
  s.file_ = std::make_shared<const InputFile>(path, ErrorKind::checkpoint);
  s.open();
  return s;
}

Safetensors Safetensors::parse(std::string bytes, std::string origin) {
  Safetensors s;
  s.origin_ = std::move(origin);
  s.memory_ = std::move(bytes);
  s.open();
  return s;
}

void Safetensors::open() {
  const uint64_t size = this->size();
  uint64_t header_bytes = 0;
  constexpr uint64_t kLength = sizeof header_bytes;
  if (size < kLength) fail(origin_, "only {} bytes long: this is no safetensors file", size);
  read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  if (header_bytes > kMaxHeader)
    fail(origin_, "a header of {} bytes is longer than the {} allowed: this is no safetensors file",
         header_bytes, kMaxHeader);
  if (header_bytes > size - kLength)
    fail(origin_, "cut short: the header takes {} bytes, {} are there", header_bytes, size - kLength);
  data_begin_ = kLength + header_bytes;

  std::string read;
  if (file_) {
    read.resize(data_begin_);
    read_at(0, std::as_writable_bytes(std::span(read)));
  }
  const auto head = std::string_view(file_ ? read : memory_).substr(0, data_begin_);
  auto header = detail::parse_safetensors_header(head.substr(kLength), origin_);
  metadata_ = std::move(header.metadata);
  entries_ = std::move(header.entries);
  check_layout(entries_, size - data_begin_, origin_);
  sort_by_name(entries_, origin_);

  if (const auto wanted = metadata_.find(kChecksum); wanted != metadata_.end())
    if (const std::string found = fmt::format("{:08x}", checksum_from(data_begin_)); found != wanted->second)
      fail(origin_, "damaged: the data's checksum is {}, the header says {}", found,
           in_quotes(wanted->second));
}

uint64_t Safetensors::size() const {
  return file_ ? file_->size() : memory_.size();
}

uint32_t Safetensors::checksum_from(uint64_t begin) const {
  uint32_t sum = 0;
  std::vector<std::byte> piece(std::min(size() - begin, kPiece));
  for (uint64_t at = begin; at < size(); at += piece.size()) {
    const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), size() - at));
    read_at(at, part);
    sum = crc32c(part, sum);
  }
  return sum;
}

void Safetensors::read_at(uint64_t offset, std::span<std::byte> to) const {
  if (file_)
    file_->read(offset, to);
  else if (!to.empty())
    std::memcpy(to.data(), memory_.data() + offset, to.size());
}

const Entry* Safetensors::find(const std::string& name) const {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), name,
                                   [](const Entry& e, const std::string& n) { return e.name < n; });
  return it != entries_.end() && it->name == name ? &*it : nullptr;
}

const Entry& Safetensors::at(const std::string& name) const {
  const Entry* e = find(name);
  if (!e) fail(origin_, "there is no tensor {}", in_quotes(name));
  return *e;
}

std::vector<std::byte> Safetensors::bytes(const Entry& e) const {
  std::vector<std::byte> all(e.end - e.begin);
  read_at(data_begin_ + e.begin, all);
  return all;
}

Tensor Safetensors::tensor(const std::string& name) const {
  const Entry& e = at(name);
  const Tensor t = Tensor::empty(e.shape, e.dtype);
  copy_to(name, t);
  return t;
}

void Safetensors::check(const std::string& name, const Shape& shape, DType dtype) const {
  const Entry& e = at(name);
  if (e.dtype != dtype || e.shape != shape)
    fail(origin_, "tensor {} is {} {}, not {} {}", in_quotes(name), name_of(e.dtype), e.shape, name_of(dtype),
         shape);
}

void Safetensors::copy_to(const std::string& name, const Tensor& target) const {
  check(name, target.shape(), target.dtype());
  write_from_host(target, [&](const Tensor& host) {
    read_at(data_begin_ + at(name).begin, {host.bytes_begin(), static_cast<size_t>(host.nbytes())});
  });
}

}  // namespace moe
