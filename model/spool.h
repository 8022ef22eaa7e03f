#pragma once
// What a run has to tell the MLflow server, on disk until it was told, and after.
//
//   OUT/mlflow/<seconds since 1970>-<id>.spool  one for each run; only grows
//   OUT/mlflow/<seconds since 1970>-<id>.sent   how far each server has taken it
//
// A spool is lines of text, each the crc32c of its JSON in eight hexadecimal digits, a space, the JSON. A
// line is written in one piece, so that of a run that is killed at most the last is incomplete.

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/log_file.h"
#include "model/metrics.h"
#include "model/mlflow_client.h"

namespace moe {

// Times are in milliseconds since 1970.
struct RunStart {
  std::string id;  // names the run wherever it is sent
  std::string server, experiment, name;
  int64_t time = 0;
  NamedTexts params, tags;
};
struct RunResume {
  int64_t step = 0;
  NamedTexts changed;  // parameters whose value is another than before
};
struct RunFile {
  std::string path;  // below OUT
};
struct RunEnd {
  RunStatus status = RunStatus::finished;
  int64_t time = 0;
};
using SpoolRecord = std::variant<RunStart, RunResume, MetricRow, RunFile, RunEnd>;

// One line, with its line break; and back, nothing for a line that is damaged.
std::string to_line(const SpoolRecord&);
std::optional<SpoolRecord> parse_line(std::string_view line);

// The spools of a run's folder OUT, the oldest first.
std::vector<std::filesystem::path> find_spools(const std::filesystem::path& out);

class SpoolWriter {
 public:
  // Starts a spool in OUT/mlflow. Throws ErrorKind::resource.
  SpoolWriter(const std::filesystem::path& out, const RunStart&);
  // Goes on with a spool that is there, behind its last whole line.
  explicit SpoolWriter(const std::filesystem::path& spool);

  // Costs one write. What the disk does not take waits in memory and is written before anything else; of
  // more than kMostWaiting records the oldest are lost. Returns whether all is on disk.
  bool append(const SpoolRecord&);
  // Makes what was appended survive a loss of power, as far as the disk lets it.
  void sync();

  static constexpr size_t kMostWaiting = 4096;
  size_t waiting() const { return waiting_.size(); }
  int64_t lost() const { return lost_; }
  // Why the last write failed.
  const std::string& problem() const { return problem_; }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  LogFile file_;
  std::deque<std::string> waiting_;
  int64_t lost_ = 0;
  std::string problem_;
};

// Reads whole lines, of a spool that still grows too.
class SpoolReader {
 public:
  // Throws ErrorKind::data when the file cannot be read.
  explicit SpoolReader(const std::filesystem::path& spool);
  ~SpoolReader();
  SpoolReader(const SpoolReader&) = delete;
  SpoolReader& operator=(const SpoolReader&) = delete;

  // The next record; nothing at the end of what is complete. Damaged lines are passed over.
  std::optional<SpoolRecord> next();
  // Passes over the next line, damaged or not; false at the end of what is complete.
  bool skip_line();
  // Where the next line begins. Only places where a line begins can be sought; others give false, and nothing
  // changes.
  int64_t offset() const { return offset_; }
  bool seek(int64_t offset);
  int64_t damaged_lines() const { return damaged_; }

 private:
  std::optional<std::string_view> next_line();

  std::filesystem::path path_;
  int file_;
  int64_t offset_ = 0;
  std::string buffer_;  // the file's bytes from buffer_begin_ on
  int64_t buffer_begin_ = 0;
  int64_t damaged_ = 0;
};

// What the first whole line tells, when it is the start of a run. Throws ErrorKind::data when the file cannot
// be read.
std::optional<RunStart> start_of_spool(const std::filesystem::path& spool);

}  // namespace moe
