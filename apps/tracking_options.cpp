#include "apps/tracking_options.h"

namespace moe {

void add_tracking_options(CLI::App& app, TrackingOptions& o) {
  app.add_flag("--tensorboard", o.tensorboard, "write TensorBoard's event files to the folder tb in --out")
      ->group("Tracking");
  // A flag that may carry a value: "--mlflow TEXT" leaves TEXT alone.
  app.add_flag(
         "--mlflow{on}", o.mlflow,
         "report to an MLflow server: that of MLFLOW_TRACKING_URI, which is enough without this option, "
         "else http://127.0.0.1:5000; --mlflow=URL names another, --mlflow=off none")
      ->group("Tracking");
}

}  // namespace moe
