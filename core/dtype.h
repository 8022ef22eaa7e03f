#pragma once
// Element types of tensors and of named-tensor files.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/error.h"

namespace moe {

// bf16 can be stored and copied; no CPU kernel computes in it.
enum class DType : uint8_t { f32, f64, i32, i64, bf16 };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::bf16:
      return 2;
  }
  return 0;
}

constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::bf16:
      return "bf16";
  }
  return "?";
}

// dtype_of<float>() == DType::f32
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::f64;
  else if constexpr (std::is_same_v<T, int32_t>)
    return DType::i32;
  else {
    static_assert(std::is_same_v<T, int64_t>, "no DType for this C++ type");
    return DType::i64;
  }
}

}  // namespace moe
