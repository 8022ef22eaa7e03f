#pragma once
// A web server on loopback that does what a small MLflow does, or behaves badly.

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/catch.h"

enum class Mood {
  good,
  hangs,         // takes the request and never answers
  trickles,      // answers a byte now and then, for ever
  fails,         // 500
  garbage,       // no HTTP
  wrong_json,    // 200, with JSON that is no answer to the question
  no_json,       // 200, with a page
  huge,          // 200, with more than anybody can want
  cuts_late,     // does what it is asked for, and hangs up without an answer
  cuts_early,    // hangs up without doing it
  redirects,     // elsewhere
  refuses_user,  // 401
  forbids,       // 403, with a reason
};

class FakeMlflow {
 public:
  using json = nlohmann::json;
  using Metric = std::tuple<std::string, int64_t, int64_t, std::string>;  // name, step, time, value as JSON
  struct Run {
    std::string status = "RUNNING", name;
    int64_t end_time = 0;
    std::map<std::string, std::string> params, tags, files;
    std::multiset<Metric> metrics;
    std::set<Metric> different_metrics() const { return {metrics.begin(), metrics.end()}; }
  };

  FakeMlflow() {
    ::setenv("no_proxy", "127.0.0.1", 1);
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listener_, any, size) == 0);
    REQUIRE(::listen(listener_, 64) == 0);
    REQUIRE(::getsockname(listener_, any, &size) == 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~FakeMlflow() { stop(); }
  FakeMlflow(const FakeMlflow&) = delete;
  FakeMlflow& operator=(const FakeMlflow&) = delete;

  // From then on nothing listens.
  void stop() {
    if (stopping_.exchange(true)) return;
    acceptor_.join();
    for (std::thread& t : threads_) t.join();
    ::close(listener_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  std::atomic<Mood> mood = Mood::good;
  std::atomic<int> requests = 0;
  std::atomic<int> largest_batch = 0;  // metrics in a request

  std::map<std::string, Run> runs() const {
    const std::lock_guard lock(mutex_);
    return runs_;
  }
  // The only one.
  Run run() const {
    const auto all = runs();
    REQUIRE(all.size() == 1);
    return all.begin()->second;
  }
  std::string last_headers() const {
    const std::lock_guard lock(mutex_);
    return headers_;
  }
  void forget_runs() {
    const std::lock_guard lock(mutex_);
    runs_.clear();
  }
  void set_artifact_root(const std::string& root) { artifact_root_ = root; }

 private:
  struct Reply {
    int status;
    std::string body;
  };

  static Reply ok(const json& body) { return {200, body.dump()}; }
  static Reply refused(int status, const char* code, const char* message) {
    return {status, json({{"error_code", code}, {"message", message}}).dump()};
  }

  void accept_all() {
    while (!stopping_) {
      pollfd ready{listener_, POLLIN, 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection >= 0)
        threads_.emplace_back([this, connection] {
          serve(connection);
          ::close(connection);
        });
    }
  }

  // Until `done` says so or the other side goes away.
  template <class Done>
  std::string receive(int connection, std::string text, Done&& done) {
    char bytes[65536];
    while (!done(text) && !stopping_) {
      pollfd ready{connection, POLLIN, 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      const ssize_t n = ::recv(connection, bytes, sizeof(bytes), 0);
      if (n <= 0) break;
      text.append(bytes, static_cast<size_t>(n));
    }
    return text;
  }

  static bool send_text(int connection, const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t n = ::send(connection, text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return false;
      done += static_cast<size_t>(n);
    }
    return true;
  }

  static std::string http(const Reply& reply, const std::string& header = "") {
    return "HTTP/1.1 " + std::to_string(reply.status) + " X\r\nConnection: close\r\n" + header +
           "Content-Length: " + std::to_string(reply.body.size()) + "\r\n\r\n" + reply.body;
  }

  void wait_for_the_end(int connection) {
    receive(connection, "", [](const std::string&) { return false; });
  }

  void serve(int connection) {
    const std::string head =
        receive(connection, "", [](const std::string& t) { return t.find("\r\n\r\n") != std::string::npos; });
    const size_t end = head.find("\r\n\r\n");
    if (end == std::string::npos) return;
    const size_t at = head.find("Content-Length: ");
    const size_t length = at < end ? std::stoul(head.substr(at + 16)) : 0;
    const std::string body =
        receive(connection, head.substr(end + 4), [&](const std::string& t) { return t.size() >= length; });
    if (body.size() < length) return;
    ++requests;
    {
      const std::lock_guard lock(mutex_);
      headers_ = head.substr(0, end);
    }
    const std::string method = head.substr(0, head.find(' '));
    const std::string path =
        head.substr(method.size() + 1, head.find(' ', method.size() + 1) - method.size() - 1);
    answer(connection, method, path, body);
  }

  void answer(int connection, const std::string& method, const std::string& path, const std::string& body) {
    switch (mood.load()) {
      case Mood::good:
        send_text(connection, http(handle(method, path, body)));
        return;
      case Mood::hangs:
        return wait_for_the_end(connection);
      case Mood::trickles:
        send_text(connection, "HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n{");
        while (!stopping_ && send_text(connection, " "))
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return;
      case Mood::fails:
        send_text(connection, http({500, "Internal Server Error"}));
        return;
      case Mood::garbage:
        send_text(connection, std::string("\0\x1b[2J\xff garbage\n\n", 16));
        return;
      case Mood::wrong_json:
        send_text(connection, http({200, "[1, {\"run\": 5, \"experiment\": []}]"}));
        return;
      case Mood::no_json:
        send_text(connection, http({200, "<html>Welcome</html>"}));
        return;
      case Mood::huge:
        send_text(connection, http({200, std::string(16 << 20, '{')}));
        return;
      case Mood::cuts_late:
        handle(method, path, body);
        return;
      case Mood::cuts_early:
        return;
      case Mood::redirects:
        send_text(connection, http({302, ""}, "Location: http://127.0.0.1:9/elsewhere\r\n"));
        return;
      case Mood::refuses_user:
        send_text(connection, http({401, "no"}));
        return;
      case Mood::forbids:
        send_text(connection, http(refused(403, "PERMISSION_DENIED", "not your experiment")));
        return;
    }
  }

  Reply handle(const std::string& method, const std::string& path, const std::string& body) {
    const std::lock_guard lock(mutex_);
    constexpr std::string_view kApi = "/api/2.0/mlflow/", kFiles = "/api/2.0/mlflow-artifacts/artifacts/";
    if (method == "PUT" && path.starts_with(kFiles)) return store_file(path.substr(kFiles.size()), body);
    if (!path.starts_with(kApi)) return {404, "<html>not here</html>"};
    const std::string verb = path.substr(kApi.size(), path.find('?') - kApi.size());
    if (method == "GET" && verb == "experiments/get-by-name")
      return get_experiment(path.substr(path.find('=') + 1));
    const json request = json::parse(body);
    if (verb == "experiments/create") return create_experiment(request.at("name"));
    if (verb == "runs/create") return create_run(request);
    if (verb == "runs/search") return search(request);
    const auto run = runs_.find(request.at("run_id"));
    if (run == runs_.end()) return refused(404, "RESOURCE_DOES_NOT_EXIST", "Run not found");
    if (verb == "runs/log-batch") return log_batch(run->second, request);
    if (verb != "runs/update") return {404, "<html>not here</html>"};
    run->second.status = request.at("status");
    run->second.end_time = request.value("end_time", int64_t{0});
    return ok({{"run_info", {}}});
  }

  Reply get_experiment(const std::string& name) {
    const auto found = std::ranges::find(experiments_, name);
    if (found == experiments_.end()) return refused(404, "RESOURCE_DOES_NOT_EXIST", "no such experiment");
    return ok(
        {{"experiment", {{"name", name}, {"experiment_id", std::to_string(found - experiments_.begin())}}}});
  }
  Reply create_experiment(const std::string& name) {
    if (std::ranges::find(experiments_, name) != experiments_.end())
      return refused(400, "RESOURCE_ALREADY_EXISTS", "it exists");
    experiments_.push_back(name);
    return ok({{"experiment_id", std::to_string(experiments_.size() - 1)}});
  }

  json as_json(const std::string& id) const {
    return {{"info",
             {{"run_id", id}, {"experiment_id", "0"}, {"artifact_uri", artifact_root_ + id + "/artifacts"}}}};
  }
  Reply create_run(const json& request) {
    const std::string id = "run" + std::to_string(++created_);
    Run& run = runs_[id];
    run.name = request.at("run_name");
    for (const json& tag : request.at("tags")) run.tags[tag.at("key")] = tag.at("value");
    return ok({{"run", as_json(id)}});
  }
  Reply search(const json& request) {
    const std::string filter = request.at("filter");  // tags.`makemoe.run` = 'abc'
    const size_t begin = filter.find('\'') + 1;
    const std::string wanted = filter.substr(begin, filter.rfind('\'') - begin);
    for (const auto& [id, run] : runs_) {
      const auto tag = run.tags.find("makemoe.run");
      if (tag != run.tags.end() && tag->second == wanted) return ok({{"runs", json::array({as_json(id)})}});
    }
    return ok(json::object());  // as MLflow does: no empty list
  }
  Reply log_batch(Run& run, const json& request) {
    const json metrics = request.value("metrics", json::array()),
               params = request.value("params", json::array()), tags = request.value("tags", json::array());
    largest_batch = std::max(largest_batch.load(), static_cast<int>(metrics.size()));
    if (metrics.size() > 1000 || params.size() > 100 || tags.size() > 100)
      return refused(400, "INVALID_PARAMETER_VALUE", "too many");
    for (const json& p : params) {
      const auto [old, is_new] = run.params.emplace(p.at("key"), p.at("value"));
      if (!is_new && old->second != p.at("value"))
        return refused(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed");
    }
    for (const json& t : tags) run.tags[t.at("key")] = t.at("value");
    for (const json& m : metrics)
      run.metrics.emplace(m.at("key"), m.at("step"), m.at("timestamp"), m.at("value").dump());
    return ok(json::object());
  }
  Reply store_file(const std::string& path, const std::string& body) {  // 0/run1/artifacts/config.json
    const size_t id = path.find('/') + 1, rest = path.find('/', id), name = path.find('/', rest + 1) + 1;
    const auto run = runs_.find(path.substr(id, rest - id));
    if (run == runs_.end()) return {404, ""};
    run->second.files[path.substr(name)] = body;
    return {200, ""};
  }

  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread acceptor_;
  std::vector<std::thread> threads_;
  mutable std::mutex mutex_;
  std::string headers_, artifact_root_ = "mlflow-artifacts:/0/";
  std::vector<std::string> experiments_;
  std::map<std::string, Run> runs_;
  int created_ = 0;
};
