#include "model/tracking.h"

#include <cstdlib>

#include "model/json.h"

namespace moe {
namespace {

std::string variable(const char* name, const char* otherwise = "") {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

// A variable that is set for other programs is no reason to refuse a run.
std::optional<MlflowSettings> settings_of(const std::string& option, const Tracking::Say& say) {
  if (option == "off" || (option.empty() && variable("MLFLOW_TRACKING_URI").empty())) return std::nullopt;
  MlflowSettings settings = mlflow_settings_from_environment();
  if (!option.empty() && option != "on") settings.server.url = option;
  try {
    const HttpClient possible(settings.server);
    return settings;
  } catch (const Error& e) {
    if (!option.empty()) throw;
    say(fmt::format("mlflow: MLFLOW_TRACKING_URI is ignored: {}", e.what()));
    return std::nullopt;
  }
}

}  // namespace

MlflowSettings mlflow_settings_from_environment() {
  MlflowSettings s;
  s.server.url = variable("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000");
  s.server.token = variable("MLFLOW_TRACKING_TOKEN");
  s.server.user = variable("MLFLOW_TRACKING_USERNAME");
  s.server.password = variable("MLFLOW_TRACKING_PASSWORD");
  s.server.verify_tls = variable("MLFLOW_TRACKING_INSECURE_TLS") != "true";
  s.server.certificates = variable("MLFLOW_TRACKING_SERVER_CERT_PATH");
  s.experiment = variable("MLFLOW_EXPERIMENT_NAME", s.experiment.c_str());
  s.run_name = variable("MLFLOW_RUN_NAME");
  return s;
}

NamedTexts tracking_params(const ModelConfig& model, const TrainConfig& training, const std::string& device) {
  NamedTexts params = {{"device", device}};
  const auto config = nlohmann::ordered_json::parse(to_json(model, training));
  for (const char* section : {"model", "training"})
    for (const auto& [name, value] : config.at(section).items()) {
      // The vocabulary that was asked for; the model's is what came of it.
      if (section == std::string_view("training") && name == "vocab_size") continue;
      params.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
    }
  params.emplace_back("parameters", fmt::format("{:.0f}", model.parameters()));
  params.emplace_back("active_parameters", fmt::format("{:.0f}", model.active_parameters()));
  return params;
}

RunStatus run_status(int exit_code) {
  if (exit_code == 0) return RunStatus::finished;
  return exit_code > 128 ? RunStatus::killed : RunStatus::failed;
}

void check_tracking(const TrackingOptions& options) {
  settings_of(options.mlflow, [](const std::string&) {});
}

Tracking::Tracking(const TrackingOptions& options, const std::filesystem::path& out, const NamedTexts& params,
                   int64_t first_step, bool resumed, const std::optional<MetricRow>& kept, const Say& say) {
  if (options.tensorboard) tensorboard_ = std::make_unique<EventWriter>(out / "tb", first_step, say);
  if (tensorboard_ && kept) tensorboard_->add(*kept);
  if (const auto settings = settings_of(options.mlflow, say)) {
    const auto resumed_at = resumed ? std::optional(first_step) : std::nullopt;
    mlflow_ = std::make_unique<Mlflow>(*settings, out, params, resumed_at, say);
  }
}

void Tracking::log(const MetricRow& row) {
  if (tensorboard_) tensorboard_->add(row);
  if (mlflow_) mlflow_->log(row);
}

// MLflow forgets nothing.
void Tracking::restart(int64_t step, const std::optional<MetricRow>& kept) {
  if (!tensorboard_) return;
  tensorboard_->restart(step);
  if (kept) tensorboard_->add(*kept);
}

void Tracking::finish(int exit_code, const std::vector<std::string>& files) {
  if (mlflow_) mlflow_->finish(run_status(exit_code), files);
}

}  // namespace moe
