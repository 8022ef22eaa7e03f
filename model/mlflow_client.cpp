#include "model/mlflow_client.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/quote.h"
#include "model/json.h"

namespace moe {
namespace {

using nlohmann::json;

constexpr const char* kApi = "/api/2.0/mlflow/";
constexpr const char* kFilesApi = "/api/2.0/mlflow-artifacts/artifacts/";
constexpr std::string_view kFilesScheme = "mlflow-artifacts:/";
constexpr const char* kPasswordHint =
    "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, which only go to a "
    "server that --mlflow or MLFLOW_TRACKING_URI names";
// The protocol's other limits. Values are cut to what servers before 2.10 take; with names of at most 250
// bytes, none of our requests comes near the limit of 1 MB.
constexpr size_t kTextsARequest = 100, kLongestName = 250, kLongestValue = 500;

std::string text_at(const json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

std::string describe(const HttpReply& reply, const std::string& code, const std::string& message) {
  if (!reply.redirect.empty())
    return fmt::format("status {}, it points to {}, which is not followed", reply.status,
                       in_quotes(reply.redirect));
  if (reply.status == 401) return fmt::format("status 401: {}", kPasswordHint);
  const std::string told =
      message.empty() ? fmt::format("status {}: {}", reply.status, in_quotes(reply.body))
                      : fmt::format("status {}, {}: {}", reply.status, in_quotes(code), in_quotes(message));
  return reply.status == 403 ? fmt::format("{}; if a password is missing, {}", told, kPasswordHint) : told;
}

// The JSON of a reply, null when it is none; error_code is the server's.
struct Answer {
  HttpReply reply;
  json body;
  std::string error_code;

  explicit Answer(HttpReply r) : reply(std::move(r)) {
    try {
      body = parse_json(reply.body, "the reply", ErrorKind::runtime);
    } catch (const Error&) {
      body = nullptr;
    }
    error_code = text_at(body, "error_code");
  }
  bool good() const { return reply.status == 200 && body.is_object() && error_code.empty(); }
};

[[noreturn]] void refuse(const std::string& what, const Answer& answer) {
  const bool lost = answer.error_code == "RESOURCE_DOES_NOT_EXIST";
  throw error(ErrorKind::runtime, "{}: {}{}", what,
              describe(answer.reply, answer.error_code, text_at(answer.body, "message")),
              lost ? "; mlflow-sync --again sends all to a new run" : "");
}

json call(HttpClient& http, const std::string& what, const json& request) {
  Answer answer(http.post_json(kApi + what, json_text(request)));
  if (!answer.good()) refuse(http.url() + kApi + what, answer);
  return std::move(answer.body);
}

// Ids come back to the server inside later requests, and into our files.
std::string checked_id(const std::string& what, const json& object, const char* key) {
  const std::string id = text_at(object, key);
  if (!is_mlflow_id(id)) throw error(ErrorKind::runtime, "{}: the reply has no {}", what, key);
  return id;
}

MlflowRun run_in(const std::string& what, const json& object) {
  const json* info = &object;
  for (const char* key : {"run", "info"})
    if (info->is_object() && info->contains(key)) info = &info->at(key);
  return {checked_id(what, *info, "run_id"), checked_id(what, *info, "experiment_id"),
          text_at(*info, "artifact_uri")};
}

// An array of {"key", "value"} objects.
json as_json(std::span<const std::pair<std::string, std::string>> texts) {
  json list = json::array();
  for (const auto& [name, value] : texts)
    list.push_back({{"key", name.substr(0, kLongestName)}, {"value", value.substr(0, kLongestValue)}});
  return list;
}

std::string metric_name(std::string name) {
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) &&
        std::string_view("_-. :/").find(c) == std::string::npos)
      c = '_';
  return name.substr(0, kLongestName);
}

// Calls f with one request's share after the other.
template <class T, class F>
void in_batches(std::span<const T> all, size_t most, F&& f) {
  for (; !all.empty(); all = all.subspan(std::min(most, all.size())))
    f(all.first(std::min(most, all.size())));
}

void log_texts(HttpClient& http, const MlflowRun& run, const char* kind, const NamedTexts& texts) {
  using Text = NamedTexts::value_type;
  in_batches(std::span<const Text>(texts), kTextsARequest, [&](std::span<const Text> batch) {
    call(http, "runs/log-batch", {{"run_id", run.id}, {kind, as_json(batch)}});
  });
}

// "mlflow-artifacts:/1/abc/artifacts" and "mlflow-artifacts://host/1/abc/artifacts" -> "1/abc/artifacts";
// empty for other stores. Whatever host it names, files only go to the server that the user named.
std::string folder_of(const std::string& artifact_uri) {
  if (!artifact_uri.starts_with(kFilesScheme)) return "";
  std::string path = artifact_uri.substr(kFilesScheme.size());
  if (path.starts_with('/')) path.erase(0, std::min(path.find('/', 1), path.size() - 1) + 1);
  return path;
}

std::string escape_path(std::string_view path) {
  std::string out;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (begin > 0) out += '/';
    out += url_escape(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

}  // namespace

bool is_mlflow_id(std::string_view id) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; };
  return !id.empty() && id.size() <= 64 && std::ranges::all_of(id, allowed);
}

std::string MlflowClient::experiment_id(const std::string& name) {
  const std::string what = http_.url() + kApi + "experiments/get-by-name";
  const auto look_up = [&] {
    return Answer(http_.get(kApi + ("experiments/get-by-name?experiment_name=" + url_escape(name))));
  };
  Answer found = look_up();
  if (found.error_code == "RESOURCE_DOES_NOT_EXIST") {
    const Answer made(
        http_.post_json(kApi + std::string("experiments/create"), json_text(json::object({{"name", name}}))));
    if (made.good()) return checked_id(what, made.body, "experiment_id");
    // Another run may have been faster.
    if (made.error_code != "RESOURCE_ALREADY_EXISTS") refuse(http_.url() + kApi + "experiments/create", made);
    found = look_up();
  }
  if (!found.good()) refuse(what, found);
  const json experiment = found.body.value("experiment", json());
  if (text_at(experiment, "lifecycle_stage") == "deleted")
    throw error(ErrorKind::runtime, "{}: the experiment {} was deleted there; restore it or name another one",
                what, in_quotes(name));
  return checked_id(what, experiment, "experiment_id");
}

std::optional<MlflowRun> MlflowClient::find_run(const std::string& experiment_id, const std::string& tag,
                                                const std::string& value) {
  const json reply = call(http_, "runs/search",
                          {{"experiment_ids", json::array({experiment_id})},
                           {"filter", fmt::format("tags.`{}` = '{}'", tag, value)},
                           {"max_results", 1}});
  const auto runs = reply.find("runs");
  if (runs == reply.end()) return std::nullopt;
  if (!runs->is_array() || runs->size() > 1)
    throw error(ErrorKind::runtime, "{}{}runs/search: the reply has no list of at most one run", http_.url(),
                kApi);
  if (runs->empty()) return std::nullopt;
  return run_in("runs/search", runs->at(0));
}

MlflowRun MlflowClient::create_run(const std::string& experiment_id, const std::string& name,
                                   int64_t start_time, const NamedTexts& tags) {
  return run_in("runs/create", call(http_, "runs/create",
                                    {{"experiment_id", experiment_id},
                                     {"run_name", name},
                                     {"start_time", start_time},
                                     {"tags", as_json(std::span(tags))}}));
}

void MlflowClient::log_params(const MlflowRun& run, const NamedTexts& params) {
  log_texts(http_, run, "params", params);
}

void MlflowClient::set_tags(const MlflowRun& run, const NamedTexts& tags) {
  log_texts(http_, run, "tags", tags);
}

void MlflowClient::log_metrics(const MlflowRun& run, std::span<const MlflowMetric> metrics) {
  in_batches(metrics, kMetricsARequest, [&](std::span<const MlflowMetric> batch) {
    json list = json::array();
    for (const MlflowMetric& m : batch)
      list.push_back({{"key", metric_name(m.name)},
                      {"value", number_to_json(m.value)},
                      {"timestamp", m.time},
                      {"step", m.step}});
    call(http_, "runs/log-batch", {{"run_id", run.id}, {"metrics", std::move(list)}});
  });
}

void MlflowClient::update_run(const MlflowRun& run, RunStatus status, int64_t time) {
  constexpr std::array kWords = {"RUNNING", "FINISHED", "FAILED", "KILLED"};
  json request = {{"run_id", run.id}, {"status", kWords[static_cast<size_t>(status)]}};
  if (status != RunStatus::running) request["end_time"] = time;
  call(http_, "runs/update", request);
}

bool MlflowClient::takes_files(const MlflowRun& run) {
  return !folder_of(run.artifact_uri).empty();
}

void MlflowClient::upload(const MlflowRun& run, const std::string& name, const std::filesystem::path& file) {
  const std::string path = kFilesApi + escape_path(folder_of(run.artifact_uri) + "/" + name);
  const Answer answer(http_.put_file(path, file));
  // The reply's body is empty or {}, depending on the server's version.
  if (answer.reply.status != 200 || !(answer.reply.body.empty() || answer.body.is_object()))
    refuse(http_.url() + path, answer);
}

std::string MlflowClient::page(const MlflowRun& run) const {
  return fmt::format("{}/#/experiments/{}/runs/{}", http_.url(), run.experiment_id, run.id);
}

}  // namespace moe
