#pragma once
// Sends a spool to an MLflow server, in order, each share until the server has confirmed it.
//
// Nothing is sent twice as far as the protocol allows. What was confirmed is noted in the .sent file. What
// was sent but not confirmed, since the connection broke or the process ended, is sent again: the run is
// found by its tag "makemoe.run"; a metric again has the same name, step, time and value, which a server with
// a database keeps once; parameters, tags, files and the status replace themselves.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/mlflow_client.h"
#include "model/sent_log.h"
#include "model/spool.h"

namespace moe {

class MlflowSender {
 public:
  // Locks the spool. Throws as SpoolLock and SpoolReader do.
  MlflowSender(MlflowClient&, std::filesystem::path spool);

  // Sends what comes next; false when all that is in the spool is sent. Throws when the server did not take
  // it, ErrorKind::runtime, or a file of the run could not be read, ErrorKind::data; the next call tries
  // again.
  bool send_next();
  // Forgets what was sent: all of it goes out again, into a new run where the server has lost the old one.
  void start_over();
  // After all is sent: a run that came to no end of its own was killed.
  void close_run();

  // The run, once the server has it.
  const std::optional<MlflowRun>& run() const { return state_.run; }
  // The spool's bytes before this one are sent.
  int64_t offset() const { return state_.offset; }
  int64_t rows_sent() const { return rows_sent_; }
  int64_t files_sent() const { return files_sent_; }
  int64_t damaged_lines() const { return reader_.damaged_lines(); }
  // Files that never can be sent, with the reasons. They are not tried again.
  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  void send(const RunStart&);
  void send(const RunResume&);
  void send(const MetricRow&);
  void send(const RunFile&);
  void send(const RunEnd&);
  void save();

  MlflowClient& client_;
  std::filesystem::path spool_;
  SpoolLock lock_;
  SpoolReader reader_;
  SentLog log_;
  SentState state_;
  int64_t rows_sent_ = 0, files_sent_ = 0;
  std::vector<std::string> left_out_;
};

// Rows of a spool behind an offset, for messages.
int64_t count_rows(const std::filesystem::path& spool, int64_t offset);

}  // namespace moe
