#include "model/mlflow.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <map>
#include <random>
#include <utility>

#include "model/run_history.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

constexpr double kLongestRetrySeconds = 60;

int64_t now() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

std::chrono::duration<double> seconds(double count) {
  return std::chrono::duration<double>(count);
}

// Not for numbers of the model: two runs must never share it.
std::string new_id() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", device());
  return id;
}

RunStart start_of(const MlflowSettings& settings, const std::string& server, const fs::path& out,
                  const NamedTexts& params) {
  const char* user = std::getenv("USER");
  return {new_id(),
          server,
          settings.experiment,
          settings.run_name.empty() ? folder_name(out) : settings.run_name,
          now(),
          params,
          {{"mlflow.source.name", "train_moe"},
           {"mlflow.source.type", "LOCAL"},
           {"mlflow.user", user ? user : "unknown"},
           {"makemoe.out", fs::absolute(out).lexically_normal().string()}}};
}

// Those parameters whose value is another than the run had when it was last started or resumed.
NamedTexts changed_params(const fs::path& spool, const NamedTexts& params) {
  std::map<std::string, std::string> before;
  SpoolReader reader(spool);
  while (const auto record = reader.next()) {
    const auto* start = std::get_if<RunStart>(&*record);
    const auto* resume = std::get_if<RunResume>(&*record);
    if (!start && !resume) continue;
    for (const auto& [name, value] : start ? start->params : resume->changed) before[name] = value;
  }
  NamedTexts changed;
  for (const auto& [name, value] : params)
    if (const auto it = before.find(name); it == before.end() || it->second != value)
      changed.emplace_back(name, value);
  return changed;
}

// Where the start of the run never came to the disk, what is appended could not be sent.
SpoolWriter open_spool(const MlflowSettings& settings, const std::string& server, const fs::path& out,
                       const NamedTexts& params, std::optional<int64_t> resumed_at) {
  const auto spools = find_spools(out);
  if (!resumed_at || spools.empty() || !start_of_spool(spools.back()))
    return {out, start_of(settings, server, out, params)};
  return SpoolWriter(spools.back());
}

// A thread that no signal interrupts: they are for the thread that trains, and a broken connection must not
// look like a broken pipe of the program's output.
template <class F>
std::thread quiet_thread(F&& f) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::forward<F>(f));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

Mlflow::Mlflow(const MlflowSettings& settings, const fs::path& out, const NamedTexts& params,
               std::optional<int64_t> resumed_at, Say say)
    : settings_(settings),
      out_(out),
      say_(std::move(say)),
      client_(settings.server, settings.limits),
      spool_(open_spool(settings, client_.url(), out, params, resumed_at)) {
  try {
    sender_.emplace(client_, spool_.path());
  } catch (const Error&) {
    // The thread tries it again, and says why it has to.
  }
  if (resumed_at) append(RunResume{*resumed_at, changed_params(spool_.path(), params)});
  thread_ = quiet_thread([this] { send_spool(); });
}

Mlflow::~Mlflow() {
  try {
    finish(RunStatus::failed, {});
  } catch (const std::exception&) {
    // Only `say` can have thrown.
  }
  if (thread_.joinable()) stop_thread();
}

void Mlflow::log(const MetricRow& row) {
  append(row);
  tell();
}

void Mlflow::append(const SpoolRecord& record) {
  const bool on_disk = spool_.append(record);
  if (!on_disk && !disk_failing_)
    say_(fmt::format("mlflow: {}; training goes on, rows wait in memory", spool_.problem()));
  disk_failing_ = !on_disk;
  const std::lock_guard lock(mutex_);
  news_ = true;
  changed_.notify_all();
}

// One line for an outage, one for its end.
void Mlflow::tell() {
  std::unique_lock lock(mutex_);
  if (problem_.empty() == told_.empty()) return;
  told_ = problem_;
  lock.unlock();
  say_(told_.empty() ? "mlflow: the server takes rows again"
                     : fmt::format("mlflow: {}; training goes on, rows wait in {}", told_,
                                   spool_.path().parent_path().string()));
}

// The thread's work: sends what is new, and after a failure waits longer each time. Once stopping, one last
// attempt.
void Mlflow::send_spool() {
  double retry = 0;
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    if (retry > 0)
      changed_.wait_for(lock, seconds(retry), [&] { return stopping_; });
    else
      changed_.wait(lock, [&] { return news_ || stopping_; });
    if (retry == 0) changed_.wait_for(lock, seconds(settings_.batch_seconds), [&] { return stopping_; });
    last = stopping_;
    news_ = false;
    lock.unlock();
    std::string problem = try_to_send();
    lock.lock();
    problem_ = std::move(problem);
    retry =
        problem_.empty() ? 0 : std::min(std::max(2 * retry, settings_.retry_seconds), kLongestRetrySeconds);
  }
  thread_done_ = true;
  changed_.notify_all();
}

// Empty, or the reason why not all is sent.
std::string Mlflow::try_to_send() {
  std::string problem;
  try {
    if (!sender_) take_over();
    while (sender_->send_next()) set_answers(true);
    return "";
  } catch (const std::exception& e) {
    problem = e.what();
  }
  set_answers(false);
  return problem;
}

// An mlflow-sync that had the spool took the run for one that was killed, and said so.
void Mlflow::take_over() {
  sender_.emplace(client_, spool_.path());
  if (sender_->run()) client_.update_run(*sender_->run(), RunStatus::running, 0);
}

void Mlflow::set_answers(bool answers) {
  const std::lock_guard lock(mutex_);
  answers_ = answers;
  changed_.notify_all();
}

void Mlflow::stop_thread() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  const auto start = std::chrono::steady_clock::now();
  changed_.wait_until(lock, start + seconds(settings_.outage_seconds),
                      [&] { return thread_done_ || answers_; });
  if (answers_)
    changed_.wait_until(lock, start + seconds(settings_.exit_seconds), [&] { return thread_done_; });
  lock.unlock();
  client_.cancel();
  if (thread_.joinable()) thread_.join();
}

void Mlflow::finish(RunStatus status, const std::vector<std::string>& files) {
  if (std::exchange(finished_, true)) return;
  for (const std::string& file : files) append(RunFile{file});
  append(RunEnd{status, now()});
  stop_thread();
  spool_.sync();
  report_end();
}

void Mlflow::report_end() {
  if (sender_)
    for (const std::string& file : sender_->left_out()) say_(fmt::format("mlflow: not sent: {}", file));
  const int64_t lost = spool_.lost() + static_cast<int64_t>(spool_.waiting());
  if (lost > 0) say_(fmt::format("mlflow: {} rows are lost: {}", lost, spool_.problem()));
  if (problem_.empty() && sender_ && sender_->run()) return say_("mlflow  " + client_.page(*sender_->run()));
  const std::string reason = problem_.empty() ? "the server did not answer in time" : problem_;
  try {
    const int64_t sent = sender_ ? sender_->offset() : SentLog(spool_.path()).find(client_.url()).offset;
    say_(fmt::format("mlflow: {} rows are not sent ({}); later: ./mlflow-sync {} --mlflow {}",
                     count_rows(spool_.path(), sent), reason, out_.string(), client_.url()));
  } catch (const Error& e) {
    say_(fmt::format("mlflow: what was not sent is lost: {}", e.what()));
  }
}

}  // namespace moe
