#pragma once
// A training run's line to an MLflow server. Every row goes to the spool in the run's folder (model/spool.h),
// which costs one write; a thread sends the spool behind the run's back. Whatever the server does, training
// goes on, and what it did not take can be sent later (MlflowSender, mlflow-sync).

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "model/mlflow_client.h"
#include "model/mlflow_sender.h"
#include "model/spool.h"

namespace moe {

struct MlflowSettings {
  HttpServer server;
  std::string experiment = "makemoe";
  std::string run_name;  // empty: the name of the run's folder
  HttpLimits limits = {};
  double batch_seconds = 2;   // rows gather for so long before they are sent
  double retry_seconds = 1;   // after a failure; doubled with each, up to a minute
  double exit_seconds = 30;   // the most that the end of a run waits for a server that takes what it gets
  double outage_seconds = 5;  // and for one that took nothing so far, or not the last it was given
};

class Mlflow {
 public:
  using Say = std::function<void(const std::string&)>;

  // Starts a run, or goes on with the newest spool in OUT/mlflow when the run was resumed at a step.
  // `say` gets a line when the server stops taking rows, when it takes them again, and at the end; it is only
  // called from the thread that calls this class. Throws ErrorKind::usage for a URL that is none and for a
  // build without HTTP, ErrorKind::resource when the spool cannot be made. While another process (an
  // mlflow-sync) sends the spool, rows wait in it.
  Mlflow(const MlflowSettings&, const std::filesystem::path& out, const NamedTexts& params,
         std::optional<int64_t> resumed_at, Say say);
  // Ends a run that did not reach finish() as failed.
  ~Mlflow();
  Mlflow(const Mlflow&) = delete;
  Mlflow& operator=(const Mlflow&) = delete;

  void log(const MetricRow&);
  // Ends the run and sends `files`, paths below OUT, with it. Waits for the server, at most exit_seconds plus
  // about a second that it takes to give up a request. Says what could not be sent.
  void finish(RunStatus, const std::vector<std::string>& files);

  const std::filesystem::path& spool() const { return spool_.path(); }

 private:
  void append(const SpoolRecord&);
  void tell();
  void send_spool();
  std::string try_to_send();
  void take_over();
  void set_answers(bool answers);
  void stop_thread();
  void report_end();

  MlflowSettings settings_;
  std::filesystem::path out_;
  Say say_;
  MlflowClient client_;
  SpoolWriter spool_;
  std::optional<MlflowSender> sender_;  // of the thread, while it runs; none while another process sends
  bool disk_failing_ = false, finished_ = false;
  std::string told_;  // the problem that was last said

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool news_ = true, stopping_ = false, thread_done_ = false;
  bool answers_ = false;  // the server took the last that it was given
  std::string problem_;   // why the last attempt failed; empty after one that did not
  std::thread thread_;
};

}  // namespace moe
