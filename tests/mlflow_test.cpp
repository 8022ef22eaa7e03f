// Runs reported to an MLflow server that behaves well or badly.

#include "model/mlflow.h"

#include <cstdlib>
#include <limits>

#include "model/tracking.h"
#include "tests/fake_mlflow.h"
#include "tests/process.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

constexpr Mood kBadMoods[] = {Mood::hangs,      Mood::trickles,  Mood::fails,       Mood::garbage,
                              Mood::wrong_json, Mood::no_json,   Mood::huge,        Mood::cuts_late,
                              Mood::cuts_early, Mood::redirects, Mood::refuses_user};

const NamedTexts kParams = {{"batch_size", "16"}, {"top_k", "2"}, {"max_iters", "5000"}};

// Impatient, so that the tests need not wait.
MlflowSettings settings_for(const std::string& url) {
  MlflowSettings s;
  s.server.url = url;
  s.limits = {1, 0.3, size_t{1} << 20};
  s.batch_seconds = s.retry_seconds = 0.01;
  s.exit_seconds = 20;
  s.outage_seconds = 0.5;
  return s;
}

MetricRow row_of(int64_t step) {
  const double x = static_cast<double>(step);
  MetricRow row{step, 1700000000.25 + x, {{"train_loss", 1 / (1 + x)}, {"val_loss", 0.1 + x}}};
  if (step == 3) row.values.emplace_back("broken", std::numeric_limits<double>::quiet_NaN());
  return row;
}

// What a server must hold once after the rows 0 to count - 1.
std::set<FakeMlflow::Metric> metrics_up_to(int64_t count) {
  std::set<FakeMlflow::Metric> wanted;
  for (int64_t step = 0; step < count; ++step)
    for (const auto& [name, value] : row_of(step).values)
      wanted.emplace(name, step, 1700000000250 + 1000 * step,
                     std::isnan(value) ? "\"NaN\"" : nlohmann::json(value).dump());
  return wanted;
}

// A run's folder with a model in it, and what was said.
struct RunFolder : TempFolder {
  std::vector<std::string> said;
  Mlflow::Say say = [this](const std::string& line) { said.push_back(line); };

  RunFolder() {
    std::ofstream(*this / "config.json") << "{}";
    std::ofstream(*this / "model.safetensors", std::ios::binary) << std::string(3'000'000, '\x07');
  }
  std::string all_said() const { return fmt::format("{}", fmt::join(said, "\n")); }
  std::filesystem::path spool() const { return find_spools(path()).at(0); }

  void log_run(const std::string& url, int64_t rows, std::optional<int64_t> resumed_at = {},
               const NamedTexts& params = kParams, RunStatus status = RunStatus::finished) {
    Mlflow mlflow(settings_for(url), path(), params, resumed_at, say);
    for (int64_t step = resumed_at.value_or(0); step < rows; ++step) mlflow.log(row_of(step));
    mlflow.finish(status, {"config.json", "model.safetensors"});
  }
  void send_rest(const std::string& url, bool again = false) const {
    MlflowClient client({url});
    MlflowSender sender(client, spool());
    if (again) sender.start_over();
    while (sender.send_next()) {
    }
    sender.close_run();
  }
};

void check_whole(const FakeMlflow& server, const RunFolder& folder, int64_t rows) {
  const auto run = server.run();
  CHECK(run.status == "FINISHED");
  CHECK(run.different_metrics() == metrics_up_to(rows));
  CHECK(run.params == std::map<std::string, std::string>(kParams.begin(), kParams.end()));
  CHECK(run.files.size() == 2);
  CHECK(run.files.at("model.safetensors") == file_text(folder / "model.safetensors"));
}

// Sets a variable of the environment while it lives; nullptr takes it away.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) const { value ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char* name_;
  std::optional<std::string> old_;
};

bool without_http() {
  if (!kWithHttp) WARN("skipped: this build has no HTTP client");
  return !kWithHttp;
}

}  // namespace

TEST_CASE("a server has a run whole when it ends: parameters, every value, status, files", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  folder.log_run(server.url(), 2345);
  check_whole(server, folder, 2345);
  const auto run = server.run();
  CHECK(run.metrics.size() == run.different_metrics().size());  // nothing came twice
  CHECK(run.name == folder.path().filename().string());
  CHECK(run.tags.at("mlflow.source.name") == "train_moe");
  CHECK(run.end_time > 1'700'000'000'000);
  CHECK(server.largest_batch <= 1000);
  REQUIRE(folder.said.size() == 1);
  CHECK_THAT(folder.said[0], Contains(server.url() + "/#/experiments/0/runs/run1"));
}

TEST_CASE("rows reach the server while the run goes on", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  Mlflow mlflow(settings_for(server.url()), folder.path(), kParams, {}, folder.say);
  mlflow.log(row_of(0));
  for (int i = 0; i < 2000 && (server.runs().empty() || server.run().metrics.empty()); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(server.run().different_metrics() == metrics_up_to(1));
  CHECK(server.run().status == "RUNNING");
}

TEST_CASE("whatever a server does, a run ends, and all of it is there once the server behaves", "[mlflow]") {
  if (without_http()) return;
  for (const Mood mood : kBadMoods) {
    INFO(static_cast<int>(mood));
    FakeMlflow server;
    RunFolder folder;
    server.mood = mood;
    folder.log_run(server.url(), 50);
    CHECK_THAT(folder.all_said(), Contains("50 rows are not sent") && Contains("mlflow-sync"));
    server.mood = Mood::good;
    folder.send_rest(server.url());
    check_whole(server, folder, 50);
    const int requests = server.requests;
    folder.send_rest(server.url());
    CHECK(server.requests == requests);
  }
}

TEST_CASE("whatever a server does after it took the begin of a run, nothing counts as sent that is not there",
          "[mlflow]") {
  if (without_http()) return;
  for (const Mood mood : kBadMoods) {
    INFO(static_cast<int>(mood));
    FakeMlflow server;
    RunFolder folder;
    {
      Mlflow mlflow(settings_for(server.url()), folder.path(), kParams, {}, folder.say);
      mlflow.log(row_of(0));
      for (int i = 0; i < 2000 && (server.runs().empty() || server.run().metrics.empty()); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      server.mood = mood;
      for (int64_t step = 1; step < 50; ++step) mlflow.log(row_of(step));
      mlflow.finish(RunStatus::finished, {"config.json", "model.safetensors"});
    }
    CHECK_THAT(folder.all_said(), Contains("rows are not sent"));
    server.mood = Mood::good;
    folder.send_rest(server.url());
    check_whole(server, folder, 50);
  }
}

TEST_CASE("the end of a run gives up a request that would take longer than it waits", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  server.mood = Mood::hangs;
  MlflowSettings settings = settings_for(server.url());
  settings.limits.seconds = 20;
  settings.outage_seconds = 0.1;
  Mlflow mlflow(settings, folder.path(), kParams, {}, folder.say);
  while (server.requests == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  mlflow.finish(RunStatus::finished, {});
  CHECK_THAT(folder.all_said(), Contains("given up"));
}

TEST_CASE("a server that fails in mid-run is told the rest when it is back, and people are told both",
          "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  Mlflow mlflow(settings_for(server.url()), folder.path(), kParams, {}, folder.say);
  int64_t step = 0;
  const auto log_until = [&](auto&& done) {
    for (int i = 0; i < 2000 && !done(); ++i) {
      mlflow.log(row_of(step++));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    CHECK(done());
  };
  log_until([&] { return !server.runs().empty() && !server.run().metrics.empty(); });
  CHECK(folder.said.empty());
  for (const Mood mood : {Mood::cuts_late, Mood::fails}) {
    folder.said.clear();
    server.mood = mood;
    log_until([&] { return folder.said.size() == 1; });
    CHECK_THAT(folder.said[0], Contains("training goes on"));
    server.mood = Mood::good;
    log_until([&] { return folder.said.size() == 2; });
    CHECK_THAT(folder.said[1], Contains("takes rows again"));
  }
  mlflow.finish(RunStatus::finished, {"config.json", "model.safetensors"});
  check_whole(server, folder, step);
}

TEST_CASE("a confirmation that is lost at any request makes no second run and loses nothing", "[mlflow]") {
  if (without_http()) return;
  for (int lost = 1; lost <= 7; ++lost) {
    INFO(lost);
    FakeMlflow server;
    RunFolder folder;
    { const SpoolWriter unused(folder.path(), {"ab", server.url(), "makemoe", "out", 1, kParams, {}}); }
    SpoolWriter spool(folder.spool());
    for (int64_t step = 0; step < 10; ++step) spool.append(row_of(step));
    spool.append(RunFile{"config.json"});
    spool.append(RunFile{"model.safetensors"});
    spool.append(RunEnd{RunStatus::finished, 5});

    // As if the process ended with each failure: a new client and sender start from the disk.
    for (bool more = true; more;) {
      MlflowClient client({server.url()});
      MlflowSender sender(client, folder.spool());
      server.mood = server.requests + 1 == lost ? Mood::cuts_late : Mood::good;
      const int before = server.requests;
      try {
        while (more && server.requests == before) more = sender.send_next();
      } catch (const Error& e) {
        CHECK_THAT(e.what(), Contains(server.url()));
      }
    }
    check_whole(server, folder, 10);
  }
}

TEST_CASE("a run that goes on is the same run, and what changed is told", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  folder.log_run(server.url(), 10, {}, kParams, RunStatus::killed);
  CHECK(server.run().status == "KILLED");
  NamedTexts params = kParams;
  params.back().second = "6000";
  folder.log_run(server.url(), 20, 10, params);
  check_whole(server, folder, 20);
  CHECK(server.run().tags.at("resumed.max_iters") == "6000");
  CHECK(server.run().tags.at("resumed.step") == "10");
  CHECK_FALSE(server.run().tags.contains("resumed.top_k"));
  folder.log_run(server.url(), 1);
  CHECK(server.runs().size() == 2);
}

TEST_CASE("a run that is resumed without a spool starts one", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  folder.log_run(server.url(), 5, 3);
  CHECK(server.run().different_metrics().size() == 5);  // two rows, one of them with three values
  CHECK(server.run().tags.at("resumed.step") == "3");
}

TEST_CASE("a run that does not come to its end counts as failed", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  { Mlflow(settings_for(server.url()), folder.path(), kParams, {}, folder.say).log(row_of(0)); }
  CHECK(server.run().status == "FAILED");
}

TEST_CASE("a server that lost the run gets all of it again, as a new one, when asked to", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  folder.log_run(server.url(), 5);
  server.forget_runs();
  folder.log_run(server.url(), 10, 5);
  CHECK_THAT(folder.all_said(), Contains("RESOURCE_DOES_NOT_EXIST") && Contains("--again"));
  folder.send_rest(server.url(), true);
  check_whole(server, folder, 10);
  folder.send_rest(server.url(), true);  // into the run that is there
  check_whole(server, folder, 10);
}

TEST_CASE("one row may have more values than a request", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  MetricRow row{1, 2, {}};
  for (int i = 0; i < 2500; ++i) row.values.emplace_back(fmt::format("load {}", i), i);
  Mlflow mlflow(settings_for(server.url()), folder.path(), kParams, {}, folder.say);
  mlflow.log(row);
  mlflow.finish(RunStatus::finished, {});
  CHECK(server.run().metrics.size() == 2500);
  CHECK(server.largest_batch == 1000);
}

TEST_CASE("names that the protocol does not have are sent as near as it allows", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  Mlflow mlflow(settings_for(server.url()), folder.path(), kParams, {}, folder.say);
  mlflow.log({1, 2, {{"load[3]*%\n", 1}, {std::string(400, 'x'), 1}}});
  mlflow.finish(RunStatus::finished, {});
  std::set<std::string> names;
  for (const auto& metric : server.run().metrics) names.insert(std::get<0>(metric));
  CHECK(names == std::set<std::string>{"load_3____", std::string(250, 'x')});
}

TEST_CASE("a password goes to its server alone, and never to the disk", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  const std::string with_user = "http://me:s%65cret@" + server.url().substr(7) + "/?a=b#c";
  folder.log_run(with_user, 2);
  CHECK_THAT(server.last_headers(), Contains("Authorization: Basic bWU6c2VjcmV0"));  // me:secret
  check_whole(server, folder, 2);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "mlflow")) {
    CHECK(file_text(entry.path()).find("cret") == std::string::npos);
    CHECK(file_text(entry.path()).find(server.url() + '"') != std::string::npos);
  }
  CHECK(folder.all_said().find("cret") == std::string::npos);

  HttpServer with_token{server.url(), "me", "secret", "abc.def"};
  HttpClient(with_token).get("/");
  CHECK_THAT(server.last_headers(), Contains("Authorization: Bearer abc.def"));
  server.mood = Mood::redirects;
  const HttpReply reply = HttpClient(with_token).get("/");
  CHECK(reply.status == 302);
  CHECK(reply.redirect == "http://127.0.0.1:9/elsewhere");
}

TEST_CASE("what is no address of a server is refused at the start", "[mlflow]") {
  if (without_http()) return;
  for (const char* url :
       {"", "mlruns", "sqlite:///mlflow.db", "file:///tmp", "ftp://host", "http://", "databricks"})
    CHECK_THAT(message_of(ErrorKind::usage, [&] { HttpClient({url}); }), Contains("http://host:5000"));
  CHECK(HttpClient({"https://host/prefix//"}).url() == "https://host/prefix");
}

TEST_CASE("a spool cannot make its sender read files outside of the run's folder", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  const TempFolder elsewhere;
  std::ofstream(elsewhere / "secret") << "secret";
  std::filesystem::create_symlink(elsewhere / "secret", folder / "link");
  std::filesystem::create_directory(folder / "best");
  std::ofstream(folder / "best/model.safetensors") << "best";
  std::filesystem::create_directory_symlink("best", folder / "latest");
  Mlflow mlflow(settings_for(server.url()), folder.path(), kParams, {}, folder.say);
  const std::string outside = (elsewhere / "secret").string();
  mlflow.finish(RunStatus::finished,
                {outside, "../" + elsewhere.path().filename().string() + "/secret", "link", "missing", "best",
                 ".", "", "best/model.safetensors", "latest/model.safetensors"});
  CHECK(server.run().files == std::map<std::string, std::string>{{"best/model.safetensors", "best"},
                                                                 {"latest/model.safetensors", "best"}});
  CHECK(std::ranges::count_if(folder.said,
                              [](const std::string& s) { return s.starts_with("mlflow: not sent"); }) == 7);
}

TEST_CASE("a server that keeps its files elsewhere gets all but the files, and people are told", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  server.set_artifact_root("s3://bucket/");
  RunFolder folder;
  folder.log_run(server.url(), 3);
  CHECK(server.run().files.empty());
  CHECK(server.run().status == "FINISHED");
  CHECK_THAT(folder.said.at(0), Contains("s3://bucket/run1"));
}

TEST_CASE("mlflow-sync sends what is left, of several runs, once", "[mlflow][cli]") {
  if (without_http()) return;
  const Variable unset("MLFLOW_TRACKING_URI", nullptr);
  FakeMlflow server;
  RunFolder folder;
  server.mood = Mood::fails;
  folder.log_run(server.url(), 10);
  folder.log_run(server.url(), 20);

  const Result failed = run(folder, {"mlflow-sync", "."});
  CHECK(failed.code == 1);
  CHECK_THAT(failed.err, Contains("mlflow-sync: " + server.url()) && Contains("status 500"));
  server.mood = Mood::good;
  const Result sent = run(folder, {"mlflow-sync", "missing", "."});
  CHECK(sent.code == 3);  // of the folder that is not there; the other was sent all the same
  CHECK_THAT(sent.err, Contains("missing"));
  CHECK_THAT(sent.out, Contains("sent 10 rows and 2 files") && Contains("sent 20 rows and 2 files"));
  const auto runs = server.runs();
  REQUIRE(runs.size() == 2);
  std::set<size_t> sizes;
  for (const auto& [id, r] : runs) sizes.insert(r.different_metrics().size());
  CHECK(sizes == std::set<size_t>{21, 41});

  const Result again = run(folder, {"mlflow-sync", "."});
  CHECK(again.code == 0);
  CHECK_THAT(again.out, Contains("sent 0 rows and 0 files"));
  CHECK(run(folder, {"mlflow-sync"}).code == 2);
  CHECK(run(folder, {"mlflow-sync", ".", "--mlflow", "mlruns"}).code == 2);
}

TEST_CASE("mlflow-sync gives a password to the server that it was told of, not to one that a spool names",
          "[mlflow][cli]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  const Variable unset("MLFLOW_TRACKING_URI", nullptr), token("MLFLOW_TRACKING_TOKEN", "topsecret");
  folder.log_run(server.url(), 2);
  run(folder, {"mlflow-sync", ".", "--again"});
  CHECK(server.last_headers().find("topsecret") == std::string::npos);
  run(folder, {"mlflow-sync", ".", "--again", "--mlflow", server.url()});
  CHECK_THAT(server.last_headers(), Contains("topsecret"));
}

TEST_CASE("mlflow-sync leaves a run alone that sends by itself, and closes one that was killed",
          "[mlflow][cli]") {
  if (without_http()) return;
  FakeMlflow server;
  const TempFolder folder;
  const Arguments arguments = {
      MOE_WRITE_RUN, "run", "--steps", "100000000", "--pause", "1", "--mlflow=" + server.url()};
  Process process(folder.path(), arguments);
  REQUIRE(process.says("20\n"));
  const TempFolder other;
  const Result busy = run(other, {"mlflow-sync", (folder / "run").string()});
  CHECK(busy.code == 2);
  CHECK_THAT(busy.err, Contains("still going"));
  process.kill(SIGKILL);
  process.wait();
  CHECK(run(other, {"mlflow-sync", (folder / "run").string()}).code == 0);
  CHECK(server.run().status == "KILLED");
  CHECK(server.run().params.contains("learning_rate"));
}

TEST_CASE("the parameters have the reference's names, and all of ours", "[mlflow]") {
  ModelConfig model;
  model.vocab_size = 65;
  const NamedTexts list = tracking_params(model, {}, "cpu");
  const std::map<std::string, std::string> params(list.begin(), list.end());
  CHECK(params.size() == list.size());
  const std::map<std::string, std::string> reference = {{"batch_size", "16"},
                                                        {"block_size", "32"},
                                                        {"max_iters", "5000"},
                                                        {"eval_interval", "100"},
                                                        {"learning_rate", "0.001"},
                                                        {"device", "cpu"},
                                                        {"eval_iters", "400"},
                                                        {"dropout", "0.1"},
                                                        {"num_experts", "8"},
                                                        {"top_k", "2"},
                                                        {"router", "noisy-topk"},
                                                        {"parameters", "8996545"},
                                                        {"active_parameters", "2674369"}};
  for (const auto& [name, value] : reference) CHECK(params.at(name) == value);
  ModelConfig::fields(model, [&](const char* name, auto&, const char*) { CHECK(params.contains(name)); });
}

TEST_CASE("the environment names the server, the user and the experiment", "[mlflow]") {
  const Variable uri("MLFLOW_TRACKING_URI", "http://host:1"), token("MLFLOW_TRACKING_TOKEN", "t"),
      user("MLFLOW_TRACKING_USERNAME", "u"), password("MLFLOW_TRACKING_PASSWORD", "p"),
      tls("MLFLOW_TRACKING_INSECURE_TLS", "true"), certificates("MLFLOW_TRACKING_SERVER_CERT_PATH", "c"),
      experiment("MLFLOW_EXPERIMENT_NAME", "e"), name("MLFLOW_RUN_NAME", "n");
  const MlflowSettings s = mlflow_settings_from_environment();
  CHECK(s.server.url == "http://host:1");
  CHECK(s.server.token == "t");
  CHECK(s.server.user == "u");
  CHECK(s.server.password == "p");
  CHECK_FALSE(s.server.verify_tls);
  CHECK(s.server.certificates == "c");
  CHECK(s.experiment == "e");
  CHECK(s.run_name == "n");
}

TEST_CASE("tracking does what the options and the environment ask for", "[mlflow]") {
  RunFolder folder;
  const auto tracks = [&](const TrackingOptions& options) {
    std::filesystem::remove_all(folder / "mlflow");
    std::filesystem::remove_all(folder / "tb");
    folder.said.clear();
    Tracking tracking(options, folder.path(), kParams, 0, false, folder.say);
    tracking.log(row_of(0));
    return std::pair{std::filesystem::exists(folder / "tb"), std::filesystem::exists(folder / "mlflow")};
  };
  {
    const Variable unset("MLFLOW_TRACKING_URI", nullptr);
    CHECK(tracks({}) == std::pair{false, false});
    CHECK(tracks({true, ""}) == std::pair{true, false});
    if (kWithHttp)
      CHECK(tracks({false, "http://127.0.0.1:9"}) == std::pair{false, true});
    else
      CHECK_THAT(message_of(ErrorKind::usage, [&] { tracks({false, "on"}); }), Contains("libcurl"));
  }
  {
    const Variable dead("MLFLOW_TRACKING_URI", "http://127.0.0.1:9");
    CHECK(tracks({true, ""}) == std::pair{true, kWithHttp});
    CHECK(tracks({true, "off"}) == std::pair{true, false});
  }
  const Variable others("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db");
  CHECK(tracks({}) == std::pair{false, false});
  REQUIRE(folder.said.size() == 1);
  CHECK_THAT(folder.said[0], Contains("MLFLOW_TRACKING_URI is ignored"));
  if (kWithHttp) message_of(ErrorKind::usage, [&] { tracks({false, "on"}); });
}

TEST_CASE("exit codes become the status of a run", "[mlflow]") {
  CHECK(run_status(0) == RunStatus::finished);
  for (const int code : {1, 2, 3, 4, 5, 6}) CHECK(run_status(code) == RunStatus::failed);
  for (const int code : {130, 141, 143}) CHECK(run_status(code) == RunStatus::killed);
}
