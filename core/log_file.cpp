#include "core/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/descriptor.h"

namespace moe {

using detail::write_error;

LogFile::LogFile(std::filesystem::path path, Existing existing) : path_(std::move(path)) {
  const int refuse = existing == Existing::refuse ? O_EXCL : 0;
  file_ = detail::open_file(path_, O_WRONLY | O_APPEND | O_CREAT | refuse);
  if (file_ < 0) throw write_error(path_, 0, errno);
  struct stat status {};
  if (::fstat(file_, &status) != 0) {
    const Error e = write_error(path_, 0, errno);
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
  if (const int code = detail::write_all(file_, bytes); code != 0) {
    torn_ = ::ftruncate(file_, size_) != 0;
    throw write_error(path_, size, code);
  }
  size_ += size;
}

void LogFile::cut(int64_t size) {
  if (::ftruncate(file_, size) != 0) throw write_error(path_, 0, errno);
  size_ = size;
  torn_ = false;
}

void LogFile::sync() {
  // EINVAL: nothing to wait for there
  if (::fsync(file_) != 0 && errno != EINVAL) throw write_error(path_, 0, errno);
}

}  // namespace moe
