#include "core/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/json_run.h"
#include "core/quote.h"

namespace moe::detail {
namespace {

// Bounds on what a header may make this program allocate; far above what any model of ours needs.
constexpr size_t kMaxTensors = 200'000;
constexpr size_t kMaxMetadata = 1000;
constexpr size_t kShortestTensor = 50;  // bytes of its description
constexpr size_t kMaxRun = 1 << 20;     // bytes of one string, number or blank

// Takes the JSON event by event: nothing is built that the header's grammar does not have.
//   {"__metadata__": {string: string, ...}, name: {"dtype": .., "shape": [..], "data_offsets": [.., ..]},
//   ...}
class HeaderEvents final : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderEvents(SafetensorsHeader& header, const std::string& origin) : header_(header), origin_(origin) {}

  bool start_object(size_t) override {
    if (place_ == Place::outside)
      place_ = Place::top;
    else if (place_ == Place::top_value)
      place_ = is_metadata_ ? Place::metadata : Place::tensor;
    else
      unexpected("an object");
    return true;
  }

  bool key(std::string& name) override {
    if (place_ == Place::top) {
      is_metadata_ = name == "__metadata__";
      place_ = Place::top_value;
      if (is_metadata_ && std::exchange(seen_metadata_, true)) fail("the key __metadata__ appears twice");
      if (!is_metadata_) start_entry(name);
    } else if (place_ == Place::metadata) {
      if (header_.metadata.size() >= kMaxMetadata) fail("it has more than {} metadata entries", kMaxMetadata);
      const auto [slot, is_new] = header_.metadata.try_emplace(name);
      if (!is_new) fail("the metadata key {} appears twice", in_quotes(name));
      text_ = &slot->second;
      place_ = Place::metadata_value;
    } else {
      start_field(name);
    }
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata_value) {
      *text_ = value;
      place_ = Place::metadata;
    } else if (place_ == Place::dtype) {
      const auto known =
          std::find_if(kDtypeWords.begin(), kDtypeWords.end(), [&](auto& d) { return value == d.first; });
      if (known == kDtypeWords.end())
        fail("tensor {} has element type {}, this program reads F32, F64, I32, I64 and BF16", name(),
             in_quotes(value));
      entry().dtype = known->second;
      place_ = Place::tensor;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_array(size_t) override {
    if (place_ == Place::shape || place_ == Place::offsets)
      place_ = place_ == Place::shape ? Place::extents : Place::bounds;
    else
      unexpected("an array");
    count_ = 0;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (place_ == Place::extents) {
      if (count_ == Shape::kMaxRank) fail("tensor {} has more than {} dimensions", name(), Shape::kMaxRank);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        fail("tensor {} has an extent of {}", name(), value);
      extents_[count_++] = static_cast<int64_t>(value);
    } else if (place_ == Place::bounds) {
      if (count_ == 2) fail("tensor {} has more than two data_offsets", name());
      (count_++ == 0 ? entry().begin : entry().end) = value;
    } else {
      unexpected("a number");
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::extents)
      entry().shape = Shape(std::span(extents_).first(count_));
    else if (count_ != 2)
      fail("tensor {} has fewer than two data_offsets", name());
    place_ = Place::tensor;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor && !(has_dtype_ && has_shape_ && has_offsets_))
      fail("tensor {} lacks {}", name(), !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : "data_offsets");
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(int64_t) override { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { return unexpected("a number that is no integer"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    fail("the header is no valid JSON at its byte {}", position);
  }

 private:
  // Where the next event falls.
  enum class Place {
    outside,
    top,
    top_value,
    metadata,
    metadata_value,
    tensor,
    dtype,
    shape,
    extents,
    offsets,
    bounds
  };

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw error(ErrorKind::checkpoint, "{}: {}", origin_, fmt::format(format, std::forward<Args>(args)...));
  }

  bool unexpected(const char* what) {
    if (place_ == Place::metadata_value) fail("the metadata holds {} where a string belongs", what);
    if (place_ == Place::outside || place_ == Place::top || place_ == Place::top_value)
      fail("the header holds {} where an object belongs", what);
    fail("tensor {} holds {} where it does not belong", name(), what);
  }

  void start_entry(const std::string& name) {
    if (header_.entries.size() >= kMaxTensors) fail("it has more than {} tensors", kMaxTensors);
    header_.entries.emplace_back().name = name;
    has_dtype_ = has_shape_ = has_offsets_ = false;
  }

  void start_field(const std::string& field) {
    const auto take = [&](bool& seen, Place place) {
      if (std::exchange(seen, true)) fail("tensor {} has {} twice", name(), field);
      place_ = place;
    };
    if (field == "dtype")
      take(has_dtype_, Place::dtype);
    else if (field == "shape")
      take(has_shape_, Place::shape);
    else if (field == "data_offsets")
      take(has_offsets_, Place::offsets);
    else
      fail("tensor {} has the unknown key {}", name(), in_quotes(field));
  }

  Safetensors::Entry& entry() { return header_.entries.back(); }
  std::string name() { return in_quotes(entry().name); }

  SafetensorsHeader& header_;
  const std::string& origin_;
  Place place_ = Place::outside;
  bool is_metadata_ = false, seen_metadata_ = false;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::string* text_ = nullptr;
  std::array<int64_t, Shape::kMaxRank> extents_{};
  size_t count_ = 0;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& origin) {
  // The JSON library would skip a byte order mark, and take a NUL for the end.
  if (json.empty() || json.front() != '{')
    throw error(ErrorKind::checkpoint, "{}: the header does not start with {{: this is no safetensors file",
                origin);
  if (const size_t nul = json.find('\0'); nul != std::string_view::npos)
    throw error(ErrorKind::checkpoint, "{}: the header is no valid JSON at its byte {}", origin, nul + 1);
  if (longest_json_run(json) > kMaxRun)
    throw error(ErrorKind::checkpoint, "{}: the header holds a string or blank of more than {} bytes", origin,
                kMaxRun);
  SafetensorsHeader header;
  // Enough at once, since a list that grows takes three times its memory for a moment.
  const auto braces = static_cast<size_t>(std::count(json.begin(), json.end(), '{'));
  header.entries.reserve(std::min({braces, json.size() / kShortestTensor, kMaxTensors}));
  HeaderEvents events(header, origin);
  nlohmann::json::sax_parse(json.begin(), json.end(), &events);
  return header;
}

}  // namespace moe::detail
