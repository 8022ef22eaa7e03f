#pragma once
// A file that grows piece by piece and is read by others while it does: a log.

#include <cstdint>
#include <filesystem>

#include "core/file.h"

namespace moe {

class LogFile {
 public:
  enum class Existing { refuse, keep };

  // Creates the file, or opens the one that is there to go on at its end, unless that is refused.
  // All throw ErrorKind::resource with the path and the reason.
  LogFile(std::filesystem::path, Existing);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // All of the bytes or none: what was written of them before the disk was full is cut off again. The next
  // call may fare better. What was appended survives the end of the process at once, a loss of power after
  // sync().
  void append(Bytes);
  // Shortens the file to `size` bytes.
  void cut(int64_t size);
  // Returns when everything is on the disk.
  void sync();

  int64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
  int64_t size_ = 0;   // of the pieces that are complete
  bool torn_ = false;  // behind them stands a part of one that could not be cut off
};

}  // namespace moe
