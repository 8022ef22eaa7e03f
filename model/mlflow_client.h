#pragma once
// The part of MLflow's REST protocol (2.0) that a training run speaks. Every reply is checked: a server that
// answers with an error, with something else than was asked for, or with garbage has not taken what was sent.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/http.h"

namespace moe {

using NamedTexts = std::vector<std::pair<std::string, std::string>>;

struct MlflowMetric {
  std::string name;
  double value = 0;
  int64_t time = 0;  // milliseconds since 1970
  int64_t step = 0;
};

// The protocol's limit.
inline constexpr size_t kMetricsARequest = 1000;

enum class RunStatus { running, finished, failed, killed };

struct MlflowRun {
  std::string id, experiment_id;
  std::string artifact_uri;  // where the server keeps the run's files
};

// What may be the id of a run or an experiment: 1 to 64 letters, digits, '-' and '_'.
bool is_mlflow_id(std::string_view);

class MlflowClient {
 public:
  explicit MlflowClient(const HttpServer& server, HttpLimits limits = {}) : http_(server, limits) {}

  // All throw ErrorKind::runtime, naming the server's reason, when it did not do what it was asked for. Doing
  // any of them twice leaves the server as after once, creating a run excepted.

  // Of the experiment of that name, which is created if need be.
  std::string experiment_id(const std::string& name);
  // A run of the experiment that carries the tag.
  std::optional<MlflowRun> find_run(const std::string& experiment_id, const std::string& tag,
                                    const std::string& value);
  MlflowRun create_run(const std::string& experiment_id, const std::string& name, int64_t start_time,
                       const NamedTexts& tags);
  void log_params(const MlflowRun&, const NamedTexts&);
  void set_tags(const MlflowRun&, const NamedTexts&);
  // In as many requests as the protocol's limit of 1000 metrics asks for. Characters that a name may not have
  // become '_'.
  void log_metrics(const MlflowRun&, std::span<const MlflowMetric>);
  // `time`: of the end, milliseconds since 1970; not sent while the run is running.
  void update_run(const MlflowRun&, RunStatus status, int64_t time);

  // Whether the server takes the run's files itself. Else they belong into a store like s3:// that this
  // client cannot write to.
  static bool takes_files(const MlflowRun&);
  // Stores a file under the relative path `name` among the run's artifacts.
  void upload(const MlflowRun&, const std::string& name, const std::filesystem::path& file);

  // The page of the run, for people.
  std::string page(const MlflowRun&) const;
  const std::string& url() const { return http_.url(); }
  void cancel() { http_.cancel(); }

 private:
  HttpClient http_;
};

}  // namespace moe
