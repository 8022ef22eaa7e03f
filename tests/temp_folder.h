#pragma once
// A folder for one test, gone when the test ends.

#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "core/error.h"
#include "tests/catch.h"

class TempFolder {
 public:
  TempFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "moe-test-XXXXXX").string();
    if (!::mkdtemp(path.data())) throw std::system_error(errno, std::generic_category(), path);
    path_ = path;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

  // Files below the folder, of any depth, whose names end in ".tmp".
  int temporary_files() const {
    int n = 0;
    for (const auto& e : std::filesystem::recursive_directory_iterator(path_))
      n += e.path().extension() == ".tmp";
    return n;
  }

 private:
  std::filesystem::path path_;
};

// What an action that must fail with an error of `kind` says.
template <class Action>
std::string message_of(moe::ErrorKind kind, Action&& action) {
  try {
    action();
  } catch (const moe::Error& e) {
    INFO(e.what());
    CHECK(e.kind() == kind);
    return e.what();
  }
  FAIL_CHECK("no error was thrown");
  return "";
}
