#include "core/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace moe {
namespace {

Error failure(const std::filesystem::path& path, int64_t bytes = 0) {
  return error(ErrorKind::resource, "cannot write {} ({} bytes): {}", path.string(), bytes,
               std::generic_category().message(errno));
}

}  // namespace

LogFile::LogFile(std::filesystem::path path, Existing existing) : path_(std::move(path)) {
  const int refuse = existing == Existing::refuse ? O_EXCL : 0;
  do file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | refuse, 0666);
  while (file_ < 0 && errno == EINTR);
  if (file_ < 0) throw failure(path_);
  struct stat status {};
  if (::fstat(file_, &status) != 0) {
    const Error e = failure(path_);
    ::close(file_);
    throw e;
  }
  size_ = status.st_size;
}

LogFile::~LogFile() {
  ::close(file_);
}

void LogFile::append(Bytes bytes) {
  if (torn_) cut(size_);
  const auto size = static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const Error e = failure(path_, size);
      torn_ = ::ftruncate(file_, size_) != 0;
      throw e;
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  size_ += size;
}

void LogFile::cut(int64_t size) {
  if (::ftruncate(file_, size) != 0) throw failure(path_);
  size_ = size;
  torn_ = false;
}

void LogFile::sync() {
  if (::fsync(file_) != 0 && errno != EINVAL) throw failure(path_);  // EINVAL: nothing to wait for there
}

}  // namespace moe
