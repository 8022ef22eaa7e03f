#pragma once
// CRC-32C (Castagnoli): guards the data of our files against bit rot, and frames TensorBoard's records.

#include <cstddef>
#include <cstdint>
#include <span>

namespace moe {

// The checksum of the bytes that gave `before`, followed by `bytes`; 0 is the checksum of nothing.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t before = 0);

}  // namespace moe
