#pragma once
// What the classes of file.h and log_file.h do with descriptors.

#include <cstdint>
#include <filesystem>

#include "core/file.h"

namespace moe::detail {

// -1, and errno, when the system refuses. Other programs that are started do not inherit the descriptor.
int open_file(const std::filesystem::path&, int flags);

// 0 or the error.
int write_all(int file, Bytes);

// ErrorKind::resource with the path, the number of bytes and the reason.
Error write_error(const std::filesystem::path&, int64_t bytes, int code);

}  // namespace moe::detail
