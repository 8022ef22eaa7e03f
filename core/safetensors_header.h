#pragma once
// The JSON header of a safetensors file, read strictly. Part of core/safetensors.cpp.

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/safetensors.h"

namespace moe::detail {

// The element types of the format that this program reads, and the format's words for them.
inline constexpr std::array<std::pair<std::string_view, DType>, 5> kDtypeWords = {{{"F32", DType::f32},
                                                                                   {"F64", DType::f64},
                                                                                   {"I32", DType::i32},
                                                                                   {"I64", DType::i64},
                                                                                   {"BF16", DType::bf16}}};

struct SafetensorsHeader {
  Metadata metadata;
  std::vector<Safetensors::Entry> entries;  // as they came; offsets are not yet checked against one another
};

// Throws ErrorKind::checkpoint, naming `origin`.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& origin);

}  // namespace moe::detail
