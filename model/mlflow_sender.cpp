#include "model/mlflow_sender.h"

#include <cmath>
#include <utility>

#include "core/quote.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRunTag = "makemoe.run";

int64_t milliseconds(double seconds) {
  return std::llround(seconds * 1000);
}

void append(std::vector<MlflowMetric>& metrics, const MetricRow& row) {
  for (const auto& [name, value] : row.values)
    metrics.push_back({name, value, milliseconds(row.time), row.step});
}

// Where the path leads, links followed; empty when it leads nowhere. Throws ErrorKind::data when that cannot
// be told now.
fs::path place_behind_links(const fs::path& path) {
  std::error_code code;
  fs::path target = fs::canonical(path, code);
  if (!code) return target;
  for (const std::errc nowhere : {std::errc::no_such_file_or_directory, std::errc::not_a_directory,
                                  std::errc::too_many_symbolic_link_levels, std::errc::filename_too_long})
    if (code == nowhere) return {};
  throw error(ErrorKind::data, "cannot read {}: {}", path.string(), code.message());
}

// The file below `out`; empty when the path or a link leads out of it, as a spool from elsewhere may try, and
// when no file is there.
fs::path file_inside(const fs::path& out, const std::string& path) {
  const fs::path root = place_behind_links(out), file = place_behind_links(root / path);
  const fs::path relative = file.lexically_relative(root);
  const bool below = !relative.empty() && *relative.begin() != ".." && *relative.begin() != ".";
  std::error_code none;
  return below && fs::is_regular_file(file, none) ? file : fs::path();
}

}  // namespace

MlflowSender::MlflowSender(MlflowClient& client, fs::path spool)
    : client_(client),
      spool_(std::move(spool)),
      lock_(spool_),
      reader_(spool_),
      log_(spool_),
      state_(log_.find(client.url())) {
  if (!state_.run || !reader_.seek(state_.offset)) state_.offset = 0;
}

bool MlflowSender::send_next() {
  reader_.seek(state_.offset);
  const auto record = reader_.next();
  if (!record) return false;
  if (!state_.run && !std::holds_alternative<RunStart>(*record))
    throw error(ErrorKind::data, "{}: its first line is damaged", spool_.string());
  std::visit([this](const auto& r) { send(r); }, *record);
  state_.offset = reader_.offset();
  save();
  return true;
}

void MlflowSender::start_over() {
  state_ = {};
}

void MlflowSender::save() {
  try {
    log_.set(client_.url(), state_);
  } catch (const Error&) {
    // Then more than necessary is sent again some time.
  }
}

void MlflowSender::send(const RunStart& start) {
  if (!state_.run) {
    const std::string experiment = client_.experiment_id(start.experiment);
    state_.run = client_.find_run(experiment, kRunTag, start.id);
    if (!state_.run) {
      NamedTexts tags = start.tags;
      tags.emplace_back(kRunTag, start.id);
      state_.run = client_.create_run(experiment, start.name, start.time, tags);
    }
    save();
  }
  client_.log_params(*state_.run, start.params);
}

void MlflowSender::send(const RunResume& resume) {
  client_.update_run(*state_.run, RunStatus::running, 0);
  NamedTexts tags = {{"resumed.step", std::to_string(resume.step)}};
  // A parameter never changes its value there.
  for (const auto& [name, value] : resume.changed) tags.emplace_back("resumed." + name, value);
  client_.set_tags(*state_.run, tags);
}

void MlflowSender::send(const MetricRow& first) {
  std::vector<MlflowMetric> metrics;
  append(metrics, first);
  int64_t rows = 1, end = reader_.offset();
  while (metrics.size() + first.values.size() <= kMetricsARequest) {
    const auto record = reader_.next();
    const auto* row = record ? std::get_if<MetricRow>(&*record) : nullptr;
    if (!row || metrics.size() + row->values.size() > kMetricsARequest) break;
    append(metrics, *row);
    end = reader_.offset();
    ++rows;
  }
  reader_.seek(end);
  client_.log_metrics(*state_.run, metrics);
  rows_sent_ += rows;
}

void MlflowSender::send(const RunFile& wanted) {
  const fs::path file = file_inside(spool_.parent_path().parent_path(), wanted.path);
  const auto leave_out = [&](const std::string& why) {
    left_out_.push_back(fmt::format("{}: {}", in_quotes(wanted.path), why));
  };
  if (file.empty()) return leave_out("it is no file in the folder of the run");
  if (!MlflowClient::takes_files(*state_.run))
    return leave_out(fmt::format("the server keeps files at {}, where only its own client can write",
                                 in_quotes(state_.run->artifact_uri)));
  client_.upload(*state_.run, wanted.path, file);
  ++files_sent_;
}

void MlflowSender::send(const RunEnd& end) {
  client_.update_run(*state_.run, end.status, end.time);
}

void MlflowSender::close_run() {
  SpoolReader reader(spool_);
  bool open = false;
  int64_t last_time = 0;
  while (const auto record = reader.next()) {
    open = !std::holds_alternative<RunEnd>(*record);
    if (const auto* start = std::get_if<RunStart>(&*record)) last_time = start->time;
    if (const auto* row = std::get_if<MetricRow>(&*record)) last_time = milliseconds(row->time);
  }
  if (open && state_.run) client_.update_run(*state_.run, RunStatus::killed, last_time);
}

int64_t count_rows(const fs::path& spool, int64_t offset) {
  SpoolReader reader(spool);
  reader.seek(offset);
  int64_t rows = 0;
  while (const auto record = reader.next()) rows += std::holds_alternative<MetricRow>(*record);
  return rows;
}

}  // namespace moe
