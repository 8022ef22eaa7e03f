// A library for LD_PRELOAD that stands between a program and the disk. It counts the calls that change files
// below a folder, writes them down, and lets one of them go wrong.
//
//   FAULT_ROOT  a part of the paths that count, such as "out/"
//   FAULT_LOG   file that gets a line for each call: its name and path
//   FAULT_AT    number of the call that goes wrong, counted from 1
//   FAULT_KIND  0: the process is killed before the call, a write after half its bytes; else the call fails
//   with
//               this errno, a write after half its bytes

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr int kFiles = 1024;
std::string* paths[kFiles];  // of the files that are open below FAULT_ROOT, by descriptor
std::atomic<long> calls{0};

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool counts(const char* path) {
  const char* root = setting("FAULT_ROOT");
  return path && *root && std::strstr(path, root);
}

ssize_t really_write(int file, const void* bytes, size_t size) {
  return real<ssize_t(int, const void*, size_t)>("write")(file, bytes, size);
}

void log_call(const std::string& line) {
  const char* log = setting("FAULT_LOG");
  if (!*log) return;
  const int file =
      real<int(const char*, int, ...)>("open")(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) return;
  if (really_write(file, line.data(), line.size()) < 0) std::abort();
  close(file);
}

// Whether this call is the one to fail; errno is set then. Does not come back when the process is to be
// killed. `before` is done just before that.
template <class Before>
bool goes_wrong(const char* name, const std::string& path, Before before) {
  const long number = ++calls;
  log_call(std::string(name) + " " + path + "\n");
  if (number != std::atol(setting("FAULT_AT"))) return false;
  before();
  const int kind = std::atoi(setting("FAULT_KIND"));
  if (kind == 0) kill(getpid(), SIGKILL);
  errno = kind;
  return true;
}

bool goes_wrong(const char* name, const std::string& path) {
  return goes_wrong(name, path, [] {});
}

const std::string* path_of(int file) {
  return file >= 0 && file < kFiles ? paths[file] : nullptr;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
  va_end(list);
  const bool ours = counts(path);
  if (ours && goes_wrong(flags & O_CREAT ? "create" : "open", path)) return -1;
  const int file = real<int(const char*, int, ...)>("open")(path, flags, mode);
  if (file >= 0 && file < kFiles) {
    delete paths[file];
    paths[file] = ours ? new std::string(path) : nullptr;
  }
  return file;
}

int close(int file) {
  if (path_of(file)) {
    delete paths[file];
    paths[file] = nullptr;
  }
  return real<int(int)>("close")(file);
}

ssize_t write(int file, const void* bytes, size_t size) {
  const std::string* path = path_of(file);
  if (path && goes_wrong("write", *path, [&] {
        if (really_write(file, bytes, size / 2) < 0) std::abort();
      }))
    return -1;
  return really_write(file, bytes, size);
}

int fsync(int file) {
  const std::string* path = path_of(file);
  if (path && goes_wrong("fsync", *path)) return -1;
  return real<int(int)>("fsync")(file);
}

int ftruncate(int file, off_t length) noexcept {
  const std::string* path = path_of(file);
  if (path && goes_wrong("ftruncate", *path)) return -1;
  return real<int(int, off_t)>("ftruncate")(file, length);
}

int rename(const char* from, const char* to) noexcept {
  if (counts(to) && goes_wrong("rename", to)) return -1;
  return real<int(const char*, const char*)>("rename")(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if (counts(to) && goes_wrong("rename", to)) return -1;
  return real<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_folder, from, to_folder,
                                                                              to, flags);
}

int symlink(const char* target, const char* path) noexcept {
  if (counts(path) && goes_wrong("symlink", path)) return -1;
  return real<int(const char*, const char*)>("symlink")(target, path);
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (counts(path) && goes_wrong("mkdir", path)) return -1;
  return real<int(const char*, mode_t)>("mkdir")(path, mode);
}

int unlink(const char* path) noexcept {
  if (counts(path) && goes_wrong("unlink", path)) return -1;
  return real<int(const char*)>("unlink")(path);
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  // Relative to a folder that is being emptied: which one, only the descriptor knows.
  if (*setting("FAULT_ROOT") && goes_wrong("unlinkat", path)) return -1;
  return real<int(int, const char*, int)>("unlinkat")(folder, path, flags);
}
}
