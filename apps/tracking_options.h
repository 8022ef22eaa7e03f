#pragma once
// --tensorboard and --mlflow.

#include <CLI/CLI.hpp>

#include "model/tracking.h"

namespace moe {

void add_tracking_options(CLI::App& app, TrackingOptions& options);

}  // namespace moe
