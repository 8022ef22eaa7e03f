#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "core/descriptor.h"

namespace moe {
namespace {

namespace fs = std::filesystem;
using detail::open_file;
using detail::write_all;
using detail::write_error;

std::string reason(int code) {
  return std::generic_category().message(code);
}

// A file that is open for reading while it lives.
class Input {
 public:
  explicit Input(int file) : file_(file) {}
  ~Input() {
    if (file_ >= 0) ::close(file_);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  int get() const { return file_; }
  bool open() const { return file_ >= 0; }

 private:
  int file_;
};

// Makes the folder's list of names durable. File systems that cannot do that say EINVAL.
int sync_folder(const fs::path& folder) {
  const Input file(open_file(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY));
  if (!file.open()) return errno;
  return ::fsync(file.get()) == 0 || errno == EINVAL ? 0 : errno;
}

Error read_error(const fs::path& path, ErrorKind kind, const std::string& why) {
  return error(kind, "cannot read {}: {}", path.string(), why);
}

// Opens what can be read: what is missing, a folder or a device is an error.
int open_to_read(const fs::path& path, ErrorKind kind, struct stat& status, int flags = 0) {
  const int file = open_file(path, O_RDONLY | flags);
  if (file < 0) throw read_error(path, kind, reason(errno));
  std::string why;
  if (::fstat(file, &status) != 0)
    why = reason(errno);
  else if (S_ISDIR(status.st_mode))
    why = "it is a folder";
  else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))
    why = "it is a device, not a file";
  else
    return file;
  ::close(file);
  throw read_error(path, kind, why);
}

Error move_error(const fs::path& from, const fs::path& to, int code) {
  return error(ErrorKind::resource, "cannot move {} to {}: {}", from.string(), to.string(), reason(code));
}

}  // namespace

std::string read_file(const fs::path& path, ErrorKind kind, int64_t max_bytes) {
  const auto fail = [&](const std::string& why) { return read_error(path, kind, why); };
  const auto too_long = [&] { return fail(fmt::format("it is longer than {} bytes", max_bytes)); };
  struct stat status {};
  const Input file(open_to_read(path, kind, status));
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

InputFile::InputFile(fs::path path, ErrorKind kind) : path_(std::move(path)), kind_(kind) {
  struct stat status {};
  file_ = open_to_read(path_, kind_, status, O_NONBLOCK);  // a pipe that nobody writes to is not waited for
  size_ = static_cast<uint64_t>(status.st_size);
  if (S_ISREG(status.st_mode)) return;
  ::close(file_);
  throw read_error(path_, kind_, "it is no regular file");
}

InputFile::~InputFile() {
  ::close(file_);
}

void InputFile::read(uint64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t n = ::pread(file_, to.data(), to.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw read_error(path_, kind_, reason(errno));
    if (n == 0) throw read_error(path_, kind_, "it has become shorter");
    offset += static_cast<uint64_t>(n);
    to = to.subspan(static_cast<size_t>(n));
  }
}

StagedFile::StagedFile(fs::path target, std::span<const Bytes> pieces)
    : target_(std::move(target)), staged_(target_) {
  staged_ += ".tmp";
  for (const Bytes& piece : pieces) size_ += static_cast<int64_t>(piece.size());

  ::unlink(staged_.c_str());  // left by a run that was killed
  file_ = open_file(staged_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
  if (file_ < 0) throw write_error(target_, size_, errno);
  int code = 0;
  for (const Bytes& piece : pieces)
    if (code == 0) code = write_all(file_, piece);
  if (code == 0 && ::fsync(file_) != 0) code = errno;  // network file systems report a full disk only here
  if (code == 0) return;
  ::unlink(staged_.c_str());
  ::close(file_);
  throw write_error(target_, size_, code);
}

StagedFile::~StagedFile() {
  if (file_ < 0) return;
  if (is_ours()) ::unlink(staged_.c_str());
  ::close(file_);
}

bool StagedFile::is_ours() const {
  struct stat ours {
  }, there{};
  return ::fstat(file_, &ours) == 0 && ::lstat(staged_.c_str(), &there) == 0 && ours.st_dev == there.st_dev &&
         ours.st_ino == there.st_ino;
}

void StagedFile::commit() {
  if (!is_ours())
    throw error(ErrorKind::resource, "cannot write {}: another program writes to the same file",
                target_.string());
  if (::rename(staged_.c_str(), target_.c_str()) != 0) throw write_error(target_, size_, errno);
  ::close(std::exchange(file_, -1));
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
  std::vector<fs::path> parents;  // of the folders that are missing
  for (fs::path p = fs::absolute(folder, code).lexically_normal(); !code && !fs::exists(p, code) && !code;
       p = p.parent_path())
    parents.push_back(p.parent_path());
  if (!code) fs::create_directories(folder, code);
  if (!code && !fs::is_directory(folder, code) && !code)
    code = std::make_error_code(std::errc::not_a_directory);
  for (const fs::path& parent : parents)
    if (!code) code = std::error_code(sync_folder(parent), std::generic_category());
  if (code)
    throw error(ErrorKind::resource, "cannot create the folder {}: {}", folder.string(), code.message());
}

void rename_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw move_error(from, to, errno);
  if (const int code = sync_folder(to.parent_path()); code != 0) throw move_error(from, to, code);
}

void replace_folder(const fs::path& staged, const fs::path& target) {
  std::error_code unknown;  // then the move itself will say why
  if (!fs::exists(fs::symlink_status(target, unknown))) return rename_file(staged, target);
#ifdef RENAME_EXCHANGE
  if (::renameat2(AT_FDCWD, staged.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    if (const int code = sync_folder(target.parent_path()); code != 0) throw move_error(staged, target, code);
    return;
  }
  if (errno != EINVAL && errno != ENOSYS) throw move_error(staged, target, errno);
#endif
  // Where the system cannot exchange two folders, there is a moment without the target.
  fs::path older = staged;
  older += kReplaced;
  rename_file(target, older);
  try {
    rename_file(staged, target);
  } catch (const Error&) {
    ::rename(older.c_str(), target.c_str());
    throw;
  }
  rename_file(older, staged);
}

void replace_link(const fs::path& link, const std::string& target) {
  fs::path staged = link;
  staged += ".tmp";
  ::unlink(staged.c_str());  // left by a run that was killed
  if (::symlink(target.c_str(), staged.c_str()) != 0)
    throw error(ErrorKind::resource, "cannot make the link {} to {}: {}", link.string(), target,
                reason(errno));
  try {
    rename_file(staged, link);
  } catch (const Error&) {
    ::unlink(staged.c_str());
    throw;
  }
}

void remove_tree(const fs::path& path) noexcept {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

FolderLock::FolderLock(const fs::path& folder) {
  create_folder(folder);
  const fs::path path = folder / ".lock";
  file_ = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW);
  if (file_ < 0) throw write_error(path, 0, errno);
  if (::flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(file_);
  throw error(ErrorKind::usage, "{}: another run writes to this folder; wait for its end or choose another",
              folder.string());
}

FolderLock::~FolderLock() {
  ::close(file_);
}

void ignore_file_size_signal() {
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace moe
