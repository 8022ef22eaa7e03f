#pragma once
// Who sends a spool (model/spool.h), and how far each server has taken it.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "model/mlflow_client.h"

namespace moe {

// Says which process sends a spool; gone when it ends. Two at once would send everything twice.
class SpoolLock {
 public:
  // Throws ErrorKind::usage when another process has it. File systems without locks grant it to everybody.
  explicit SpoolLock(const std::filesystem::path& spool);
  ~SpoolLock();
  SpoolLock(const SpoolLock&) = delete;
  SpoolLock& operator=(const SpoolLock&) = delete;

 private:
  int file_;
};

// What is known of a run on one server.
struct SentState {
  std::optional<MlflowRun> run;  // once the server has it
  int64_t offset = 0;            // the server has taken the spool's bytes before this one
};

// The .sent file beside a spool. One that is missing or damaged counts as empty: then all is sent again, and
// the server finds the run by its id.
class SentLog {
 public:
  explicit SentLog(const std::filesystem::path& spool);
  SentState find(const std::string& server) const;
  // Throws ErrorKind::resource.
  void set(const std::string& server, const SentState&);

 private:
  std::filesystem::path path_;
  std::map<std::string, SentState> servers_;
};

}  // namespace moe
