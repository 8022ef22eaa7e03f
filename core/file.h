#pragma once
// Whole files in, whole files out. A file is replaced in one move or not at all.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace moe {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// The contents of a file or pipe. What is missing, a folder, a device, unreadable or longer than max_bytes is
// an error of the given kind that names the path and the reason.
std::string read_file(const std::filesystem::path&, ErrorKind kind, int64_t max_bytes);

// A file that stays open, to read parts of it. What replaces it under its name later is another file.
class InputFile {
 public:
  // What is missing, no regular file or unreadable is an error of this kind, which names the path and the
  // reason.
  InputFile(std::filesystem::path, ErrorKind kind);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  uint64_t size() const { return size_; }  // when it was opened
  // Fills `to` with the bytes from `offset` on. Throws when there are not so many, or they are unreadable.
  void read(uint64_t offset, std::span<std::byte> to) const;

 private:
  std::filesystem::path path_;
  ErrorKind kind_;
  int file_ = -1;
  uint64_t size_ = 0;
};

// A new version of a file, complete on disk beside its target under the target's name and ".tmp". Several of
// them can be prepared first, where the disk may fill up, and then be put in place one after the other.
// Only one process at a time may write to a folder.
class StagedFile {
 public:
  // Writes `pieces` one behind the other. Throws ErrorKind::resource with the path, the number of bytes and
  // the reason; what was written is removed then, and the target is untouched.
  StagedFile(std::filesystem::path target, std::span<const Bytes> pieces);
  // Removes the staged file unless it was put in place.
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  // Replaces the target by the staged file in one move that survives a loss of power.
  void commit();

 private:
  bool is_ours() const;  // the file of the temporary name is the one that was written

  std::filesystem::path target_, staged_;
  int64_t size_ = 0;
  int file_ = -1;  // open until the end, so that no other file can be taken for this one
};

void write_file(const std::filesystem::path&, std::span<const Bytes> pieces);
void write_file(const std::filesystem::path&, std::string_view text);

// Creates a folder and those above it, to stay. Throws ErrorKind::resource.
void create_folder(const std::filesystem::path&);

// All three move names, in one move each that survives a loss of power. They throw ErrorKind::resource with
// the path and the reason. Nothing is changed then, unless it was only the flush to the disk that failed.
//
// The target must not exist, or be a file.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
// The target may be a folder with files in it; that one then stands where `staged` was. Where the system
// cannot exchange two folders this takes several moves; between them the older one has the name of `staged`
// with this behind.
inline constexpr const char* kReplaced = ".older";
void replace_folder(const std::filesystem::path& staged, const std::filesystem::path& target);
// A symbolic link, in place of whatever link had the name.
void replace_link(const std::filesystem::path& link, const std::string& target);

// Removes a file, or a folder with all it holds, as far as that is possible.
void remove_tree(const std::filesystem::path&) noexcept;

// Keeps other processes out of a folder while it lives.
class FolderLock {
 public:
  // Creates the folder and a file ".lock" in it. Throws ErrorKind::usage when another process has the lock,
  // ErrorKind::resource when the folder cannot be written to. File systems without locks let everybody in.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

// Beyond the limit of `ulimit -f` the system ends the process by a signal; when the signal is ignored, the
// write fails with an error instead. Applications call this once at their start.
void ignore_file_size_signal();

}  // namespace moe
