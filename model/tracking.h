#pragma once
// Where a run reports to, beside its own folder: TensorBoard, MLflow, both or neither.

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/metrics.h"
#include "model/mlflow.h"
#include "model/tensorboard.h"

namespace moe {

struct TrackingOptions {
  bool tensorboard = false;
  // Empty: MLflow when MLFLOW_TRACKING_URI is set. "on": also when it is not, to a server on this machine.
  // "off": never. Else the server's URL.
  std::string mlflow;
};

// What MLflow's own variables say: MLFLOW_TRACKING_URI (http://127.0.0.1:5000 when it is not set),
// MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_INSECURE_TLS,
// MLFLOW_TRACKING_SERVER_CERT_PATH, MLFLOW_EXPERIMENT_NAME, MLFLOW_RUN_NAME.
MlflowSettings mlflow_settings_from_environment();

// Every field of the configuration under its name in config.json, "device", and the numbers of parameters.
NamedTexts tracking_params(const ModelConfig&, const TrainConfig&, const std::string& device);

// What a run's exit code means to MLflow: 0 is finished, 128 + signal is killed, all else is failed.
RunStatus run_status(int exit_code);

// Throws when --mlflow asks for what cannot be: ErrorKind::usage for a URL that is none and for a build
// without HTTP, ErrorKind::resource when libcurl is not there. A server that only the environment names is no
// reason; Tracking says that it is ignored.
void check_tracking(const TrackingOptions&);

class Tracking {
 public:
  using Say = std::function<void(const std::string&)>;

  // first_step: the first that will be logged. `resumed` says that the run in `out` goes on, `kept` is the
  // row of first_step that was logged before and will not be again. `say` gets lines for people, only from
  // the thread that calls this class. Throws as check_tracking does,
  // and ErrorKind::resource when a file cannot be made. What fails later never throws.
  Tracking(const TrackingOptions&, const std::filesystem::path& out, const NamedTexts& params,
           int64_t first_step, bool resumed, const std::optional<MetricRow>& kept, const Say& say);

  // Costs a write for each of TensorBoard and MLflow.
  void log(const MetricRow&);
  // The run goes back to an earlier state: rows from `step` on come again, all but `kept`.
  void restart(int64_t step, const std::optional<MetricRow>& kept);
  // The end. `files`, paths below `out`, go to MLflow as the run's artifacts. Waits for the server as
  // Mlflow::finish does. A run that does not get here counts as failed.
  void finish(int exit_code, const std::vector<std::string>& files);

 private:
  std::unique_ptr<EventWriter> tensorboard_;
  std::unique_ptr<Mlflow> mlflow_;
};

}  // namespace moe
