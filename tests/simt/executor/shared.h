#pragma once
// A block's shared memory: the dynamic part first, then each SHARED() variable as threads come upon it.
//
// All of it is NaN (bytes 0xFF) when a block begins, so that what is used uninitialised shows. Around every
// variable lies a red zone: reading one gives NaN, writing one is found when the block ends, and
// AddressSanitizer stops at both.

#include <cstddef>
#include <string_view>
#include <type_traits>

namespace simt {

struct Grid;

// The variable of this identity (an address that stands for its declaration), 16-byte aligned.
void* shared_variable(const void* identity, size_t bytes, std::string_view name);
void* dynamic_shared();

template <class T>
auto& shared(const void* identity, std::string_view name) {
  using Element = std::remove_all_extents_t<T>;
  static_assert(
      std::is_trivially_default_constructible_v<Element> && std::is_trivially_destructible_v<Element>,
      "shared memory takes no constructors");
  return *static_cast<T*>(shared_variable(identity, sizeof(T), name));
}

// A piece of memory that the kernel may use.
struct Range {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
};

namespace shared_memory {

inline constexpr size_t kUnasked = 48 << 10;  // what a block gets without asking for more
inline constexpr size_t kArena = 256 << 10;   // what any GPU has, and room for red zones

void begin_block(const Grid&);
void end_block();
Range arena();
// Whether [p, p + bytes) lies within one variable or the dynamic part.
bool allowed(const void* p, size_t bytes);

}  // namespace shared_memory
}  // namespace simt
