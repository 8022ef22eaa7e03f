#pragma once
// Device memory: pieces of host memory that kernels may use.
//
// Each allocation is NaN (bytes 0xFF) and lies between red zones that are NaN as well, so that what is read
// uninitialised or outside shows in results; a red zone that was written to is found after the kernel, and
// AddressSanitizer stops at every access to one.

#include <cstddef>
#include <map>
#include <string_view>

#include "shared.h"

namespace simt::device_memory {

using Pieces = std::map<const std::byte*, size_t>;  // begin -> bytes
// The piece that p lies in, or an empty range.
Range find(const Pieces&, const void* p);

void* allocate(size_t bytes);  // 256-byte aligned, nullptr when there is no more
bool release(void* p);         // false when p is no allocation

// The allocation that p lies in.
Range find(const void* p);
// Reports allocations whose red zones the kernel has written to.
void check_red_zones(std::string_view kernel);

}  // namespace simt::device_memory
