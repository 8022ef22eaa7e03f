#include "model/sent_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "core/file.h"
#include "model/json.h"

namespace moe {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMostSentBytes = 1 << 20;

SentState state_of(const json& entry) {
  const MlflowRun run{entry.at("run_id").get<std::string>(), entry.at("experiment_id").get<std::string>(),
                      entry.at("artifact_uri").get<std::string>()};
  const std::optional<int64_t> offset = integer_in(entry.at("offset"));
  if (!is_mlflow_id(run.id) || !is_mlflow_id(run.experiment_id) || !offset)
    throw error(ErrorKind::data, "no state");
  return {run, *offset};
}

}  // namespace

// A pipe does not keep us waiting; SpoolReader refuses it.
SpoolLock::SpoolLock(const fs::path& spool)
    : file_(::open(spool.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (file_ < 0 || ::flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(file_);
  throw error(ErrorKind::usage, "{}: another process sends it, a run that is still going or mlflow-sync",
              spool.string());
}

SpoolLock::~SpoolLock() {
  if (file_ >= 0) ::close(file_);
}

SentLog::SentLog(const fs::path& spool) : path_(spool) {
  path_.replace_extension(".sent");
  try {
    const json all =
        parse_json(read_file(path_, ErrorKind::data, kMostSentBytes), path_.string(), ErrorKind::data);
    for (const auto& [server, entry] : all.items()) servers_[server] = state_of(entry);
  } catch (const Error&) {
    servers_.clear();
  } catch (const json::exception&) {
    servers_.clear();
  }
}

SentState SentLog::find(const std::string& server) const {
  const auto it = servers_.find(server);
  return it == servers_.end() ? SentState{} : it->second;
}

void SentLog::set(const std::string& server, const SentState& state) {
  servers_[server] = state;
  json all = json::object();
  for (const auto& [name, s] : servers_)
    if (s.run)
      all[name] = {{"run_id", s.run->id},
                   {"experiment_id", s.run->experiment_id},
                   {"artifact_uri", s.run->artifact_uri},
                   {"offset", s.offset}};
  write_file(path_, json_text(all) + "\n");
}

}  // namespace moe
