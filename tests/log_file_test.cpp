#include "core/log_file.h"

#include <string>

#include "tests/file_size_limit.h"
#include "tests/temp_folder.h"

using namespace moe;
using Catch::Matchers::Contains;
using Existing = LogFile::Existing;

namespace {

std::string read(const std::filesystem::path& path) {
  return read_file(path, ErrorKind::data, 1 << 20);
}

}  // namespace

TEST_CASE("a log file goes on where it ended, and only where that is wanted", "[file]") {
  const TempFolder folder;
  {
    LogFile file(folder / "log", Existing::refuse);
    file.append(as_bytes("one, "));
    file.append(as_bytes("two, "));
    CHECK(read(folder / "log") == "one, two, ");
  }
  CHECK_THAT(message_of(ErrorKind::resource, [&] { LogFile(folder / "log", Existing::refuse); }),
             Contains((folder / "log").string()) && Contains("exists"));
  LogFile file(folder / "log", Existing::keep);
  CHECK(file.size() == 10);
  file.append(as_bytes("three"));
  file.sync();
  CHECK(read(folder / "log") == "one, two, three");
  file.cut(3);
  file.append(as_bytes("!"));
  CHECK(read(folder / "log") == "one!");
  CHECK(file.size() == 4);
}

TEST_CASE("what a full disk took of a piece is cut off, and the next piece may fit", "[file]") {
  const TempFolder folder;
  LogFile file(folder / "log", Existing::refuse);
  file.append(as_bytes("short"));
  const std::string text(100, 'x');
  {
    const FileSizeLimit limit(50);
    CHECK_THAT(message_of(ErrorKind::resource, [&] { file.append(as_bytes(text)); }),
               Contains("log") && Contains("File too large"));
    CHECK(read(folder / "log") == "short");
    file.append(as_bytes("er"));
  }
  file.append(as_bytes(text));
  CHECK(read(folder / "log") == "shorter" + text);
}
