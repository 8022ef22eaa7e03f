#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace moe {
namespace {

namespace fs = std::filesystem;

std::string reason(int code) {
  return std::generic_category().message(code);
}

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) {
    do value_ = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    while (value_ < 0 && errno == EINTR);
  }
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return value_; }
  bool open() const { return value_ >= 0; }
  // 0 or the error: network file systems report a full disk only here.
  int close() { return ::close(std::exchange(value_, -1)) == 0 ? 0 : errno; }

 private:
  int value_ = -1;
};

// 0 or the error.
int write_all(int file, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return 0;
}

// Makes the folder's list of names durable. File systems that cannot do that say EINVAL.
int sync_folder(const fs::path& folder) {
  const Descriptor file(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY);
  if (!file.open()) return errno;
  return ::fsync(file.get()) == 0 || errno == EINVAL ? 0 : errno;
}

Error write_error(const fs::path& path, int64_t bytes, int code) {
  return error(ErrorKind::resource, "cannot write {} ({} bytes): {}", path.string(), bytes, reason(code));
}

}  // namespace

std::string read_file(const fs::path& path, ErrorKind kind, int64_t max_bytes) {
  const auto fail = [&](const std::string& why) {
    return error(kind, "cannot read {}: {}", path.string(), why);
  };
  const auto too_long = [&] { return fail(fmt::format("it is longer than {} bytes", max_bytes)); };
  const Descriptor file(path, O_RDONLY);
  if (!file.open()) throw fail(reason(errno));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw fail(reason(errno));
  if (S_ISDIR(status.st_mode)) throw fail("it is a folder");
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) throw fail("it is a device, not a file");
  if (status.st_size > max_bytes) throw too_long();

  // One byte more than expected, so that the end of the file is seen without growing.
  std::string text;
  size_t size = 0;
  try {
    text.resize(static_cast<size_t>(status.st_size) + 1);
    for (;;) {
      if (size == text.size()) text.resize(2 * size);
      const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw fail(reason(errno));
      if (n == 0) break;
      size += static_cast<size_t>(n);
      if (size > static_cast<size_t>(max_bytes)) throw too_long();
    }
  } catch (const std::bad_alloc&) {
    throw error(ErrorKind::resource, "cannot read {}: out of memory", path.string());
  }
  text.resize(size);
  return text;
}

StagedFile::StagedFile(fs::path target, std::span<const Bytes> pieces)
    : target_(std::move(target)), staged_(target_) {
  staged_ += ".tmp";
  for (const Bytes& piece : pieces) size_ += static_cast<int64_t>(piece.size());

  ::unlink(staged_.c_str());  // left by a run that was killed
  Descriptor file(staged_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
  if (!file.open()) throw write_error(target_, size_, errno);
  int code = 0;
  for (const Bytes& piece : pieces)
    if (code == 0) code = write_all(file.get(), piece);
  if (code == 0 && ::fsync(file.get()) != 0) code = errno;
  struct stat status {};
  if (code == 0 && ::fstat(file.get(), &status) != 0) code = errno;
  if (const int closing = file.close(); code == 0) code = closing;
  if (code != 0) {
    ::unlink(staged_.c_str());
    throw write_error(target_, size_, code);
  }
  device_ = status.st_dev;
  inode_ = status.st_ino;
  pending_ = true;
}

StagedFile::~StagedFile() {
  if (pending_) ::unlink(staged_.c_str());
}

void StagedFile::commit() {
  struct stat status {};
  if (::lstat(staged_.c_str(), &status) != 0 || status.st_dev != device_ || status.st_ino != inode_) {
    pending_ = false;  // not ours to remove
    throw error(ErrorKind::resource, "cannot write {}: another program writes to the same file",
                target_.string());
  }
  if (::rename(staged_.c_str(), target_.c_str()) != 0) throw write_error(target_, size_, errno);
  pending_ = false;
  if (const int code = sync_folder(target_.parent_path()); code != 0) throw write_error(target_, size_, code);
}

void write_file(const fs::path& path, std::span<const Bytes> pieces) {
  StagedFile(path, pieces).commit();
}

void write_file(const fs::path& path, std::string_view text) {
  const Bytes piece = as_bytes(text);
  write_file(path, std::span(&piece, 1));
}

void create_folder(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (!code && !fs::is_directory(folder, code) && !code)
    code = std::make_error_code(std::errc::not_a_directory);
  if (code)
    throw error(ErrorKind::resource, "cannot create the folder {}: {}", folder.string(), code.message());
}

void ignore_file_size_signal() {
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace moe
