#include "core/file.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>

#include "core/crc32c.h"
#include "core/quote.h"
#include "tests/file_size_limit.h"
#include "tests/temp_folder.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

constexpr int64_t kMax = 1 << 20;

std::string read(const std::filesystem::path& path, int64_t max = kMax) {
  return read_file(path, ErrorKind::data, max);
}

}  // namespace

TEST_CASE("crc32c gives the known answers, whole or in pieces", "[file]") {
  CHECK(crc32c({}) == 0);
  CHECK(crc32c(as_bytes("123456789")) == 0xe3069283);
  const std::string zeros(32, '\0'), text = "The quick brown fox jumps over the lazy dog";  // RFC 3720, B.4
  CHECK(crc32c(as_bytes(zeros)) == 0x8a9136aa);
  CHECK(crc32c(as_bytes(text)) == 0x22620404);
  for (size_t cut = 0; cut <= text.size(); ++cut)
    CHECK(crc32c(as_bytes(text).subspan(cut), crc32c(as_bytes(text).first(cut))) == 0x22620404);
}

TEST_CASE("foreign text in messages cannot disturb a terminal", "[file]") {
  CHECK(in_quotes("a.weight") == "\"a.weight\"");
  CHECK(in_quotes("\x1b[2J\"\\\xff") == "\"\\x1B[2J\\\"\\\\\\xFF\"");
  CHECK(in_quotes(std::string(1000, 'a')).size() < 80);
}

TEST_CASE("read_file says which path and why", "[file]") {
  const TempFolder folder;
  const auto why = [&](const std::filesystem::path& path) {
    const std::string message = message_of(ErrorKind::data, [&] { read(path, 10); });
    CHECK_THAT(message, Contains(path.string()));
    return message;
  };
  CHECK_THAT(why(folder / "missing"), Contains("No such file"));
  CHECK_THAT(why(folder.path()), Contains("folder"));
  CHECK_THAT(why("/dev/zero"), Contains("device"));
  write_file(folder / "long", std::string(11, 'x'));
  CHECK_THAT(why(folder / "long"), Contains("longer than 10 bytes"));
  if (::geteuid() != 0) {
    write_file(folder / "secret", "x");
    ::chmod((folder / "secret").c_str(), 0);
    CHECK_THAT(why(folder / "secret"), Contains("Permission denied"));
  }
}

TEST_CASE("read_file returns every byte, of files that do not tell their size too", "[file]") {
  const TempFolder folder;
  for (const size_t size : {0, 1, 10, 4096, 100000}) {
    std::string text(size, 'a');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7);
    write_file(folder / "file", text);
    CHECK(read(folder / "file") == text);
  }
  CHECK(!read("/proc/self/status").empty());
}

TEST_CASE("write_file writes its pieces in order and replaces what was there", "[file]") {
  const TempFolder folder;
  write_file(folder / "file", "an older and longer version");
  const std::array<Bytes, 4> pieces = {as_bytes("one, "), as_bytes(""), as_bytes("two, "), as_bytes("three")};
  write_file(folder / "file", pieces);
  CHECK(read(folder / "file") == "one, two, three");
  CHECK(folder.temporary_files() == 0);
}

TEST_CASE("write_file names the path, the size and the reason when it cannot write", "[file]") {
  const TempFolder folder;
  const auto missing = folder / "no-such-folder/file";
  CHECK(message_of(ErrorKind::resource, [&] { write_file(missing, "12345"); }) ==
        "cannot write " + missing.string() + " (5 bytes): No such file or directory");
  std::filesystem::create_directory(folder / "folder");
  CHECK_THAT(message_of(ErrorKind::resource, [&] { write_file(folder / "folder", "12345"); }),
             Contains("directory"));
  CHECK(folder.temporary_files() == 0);
  write_file(folder / "file", "x");
  CHECK_THAT(message_of(ErrorKind::resource, [&] { create_folder(folder / "file"); }), Contains("file"));
}

TEST_CASE("a file that may not grow leaves the older version and no temporary file", "[file]") {
  const TempFolder folder;
  write_file(folder / "file", "older");
  const std::string text(100000, 'x');
  {
    const FileSizeLimit limit(5000);
    CHECK_THAT(message_of(ErrorKind::resource, [&] { write_file(folder / "file", text); }),
               Contains("(100000 bytes): File too large"));
  }
  CHECK(read(folder / "file") == "older");
  CHECK(folder.temporary_files() == 0);
  write_file(folder / "file", text);
  CHECK(read(folder / "file") == text);
}

TEST_CASE("a full disk leaves the older version and no temporary file", "[file]") {
  const TempFolder folder;
  const auto disk = folder / "disk";
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0) {
    WARN("skipped: mounting a small disk needs privileges");
    return;
  }
  write_file(disk / "file", "older");
  const std::string message =
      message_of(ErrorKind::resource, [&] { write_file(disk / "file", std::string(100000, 'x')); });
  const std::string survivor = read(disk / "file");
  const int left = folder.temporary_files();
  ::umount(disk.c_str());
  CHECK_THAT(message, Contains("(100000 bytes): No space left on device"));
  CHECK(survivor == "older");
  CHECK(left == 0);
}

TEST_CASE("a staged file takes its place only when committed", "[file]") {
  const TempFolder folder;
  write_file(folder / "file", "older");
  const Bytes newer = as_bytes("newer");
  {
    const StagedFile staged(folder / "file", std::span(&newer, 1));
    CHECK(read(folder / "file") == "older");
  }
  CHECK(read(folder / "file") == "older");
  CHECK(folder.temporary_files() == 0);
  StagedFile staged(folder / "file", std::span(&newer, 1));
  staged.commit();
  CHECK(read(folder / "file") == "newer");
}

TEST_CASE("the leftover of a killed run is replaced, and a second writer is noticed", "[file]") {
  const TempFolder folder;
  std::filesystem::create_symlink(folder / "elsewhere", folder / "file.tmp");
  write_file(folder / "file", "text");
  CHECK(read(folder / "file") == "text");
  CHECK(!std::filesystem::exists(folder / "elsewhere"));

  const Bytes one = as_bytes("one"), two = as_bytes("two");
  StagedFile first(folder / "file", std::span(&one, 1));
  StagedFile second(folder / "file", std::span(&two, 1));
  CHECK_THAT(message_of(ErrorKind::resource, [&] { first.commit(); }), Contains("another program"));
  second.commit();
  CHECK(read(folder / "file") == "two");
}

TEST_CASE("a pipe is no file to read parts of, and is not waited for", "[file]") {
  const TempFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(message_of(ErrorKind::checkpoint, [&] { InputFile(folder / "pipe", ErrorKind::checkpoint); }),
             Contains("pipe") && Contains("no regular file"));
}

TEST_CASE("a folder takes the place of another whole, and the other stands where it was", "[file]") {
  const TempFolder folder;
  const auto staged = folder / "staged", target = folder / "target";
  create_folder(staged / "inside");
  write_file(staged / "inside/file", "newer");
  replace_folder(staged, target);
  CHECK(read(target / "inside/file") == "newer");
  CHECK(!std::filesystem::exists(staged));
  create_folder(staged);
  write_file(staged / "file", "newest");
  replace_folder(staged, target);
  CHECK(read(target / "file") == "newest");
  CHECK(read(staged / "inside/file") == "newer");
  CHECK_THAT(message_of(ErrorKind::resource, [&] { replace_folder(folder / "missing", folder / "other"); }),
             Contains("cannot move") && Contains("missing") && Contains("No such file"));
  remove_tree(target);
  CHECK(!std::filesystem::exists(target));
}

TEST_CASE("a link is replaced in one move, and never a folder by one", "[file]") {
  const TempFolder folder;
  replace_link(folder / "link", "one");
  replace_link(folder / "link", "two");
  CHECK(std::filesystem::read_symlink(folder / "link") == "two");
  create_folder(folder / "folder");
  CHECK_THROWS_AS(replace_link(folder / "folder", "two"), Error);
  CHECK(folder.temporary_files() == 0);
}

TEST_CASE("a folder is locked while its lock lives", "[file]") {
  const TempFolder folder;
  {
    const FolderLock first(folder / "out");
    CHECK_THAT(message_of(ErrorKind::usage, [&] { FolderLock(folder / "out"); }), Contains("another run"));
  }
  CHECK_NOTHROW(FolderLock(folder / "out"));
}
