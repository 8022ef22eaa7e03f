#include "core/descriptor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace moe::detail {

int open_file(const std::filesystem::path& path, int flags) {
  int file = -1;
  do file = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (file < 0 && errno == EINTR);
  return file;
}

int write_all(int file, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return 0;
}

Error write_error(const std::filesystem::path& path, int64_t bytes, int code) {
  return error(ErrorKind::resource, "cannot write {} ({} bytes): {}", path.string(), bytes,
               std::generic_category().message(code));
}

}  // namespace moe::detail
