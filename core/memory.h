#pragma once
// How much memory there is.

#include <cstdint>
#include <string>

namespace moe {

// Bytes this process may still take: what the system calls available, and no more than the limit of its
// control group and of those above it.
int64_t available_memory();

// "3.2 GiB", "812.5 MiB". Takes a double since a configuration may ask for more than an integer counts.
std::string format_bytes(double bytes);

}  // namespace moe
