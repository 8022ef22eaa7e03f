// What options and environment make of a run's reports, and mlflow-sync.

#include "model/tracking.h"

#include <cstdlib>

#include "tests/mlflow_fixture.h"
#include "tests/run_shop.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

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

}  // namespace

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

TEST_CASE("mlflow-sync says of a spool without a whole line that it is damaged", "[mlflow][cli]") {
  if (without_http()) return;
  FakeMlflow server;
  const TempFolder folder;
  std::filesystem::create_directories(folder / "out/mlflow");
  write_file(folder / "out/mlflow/1-ab.spool", "");
  const Result r = run(folder, {"mlflow-sync", "--mlflow", server.url(), "out"});
  CHECK(r.code == 3);
  CHECK_THAT(r.err, Contains("1-ab.spool: its first line is damaged"));
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
  const Variable empty("MLFLOW_TRACKING_URI", "");  // as if it were not set
  CHECK(run(folder, {"mlflow-sync", ".", "--again"}).code == 0);
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
    Tracking tracking(options, folder.path(), kParams, 0, false, {}, folder.say);
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
  const Variable cut("MLFLOW_TRACKING_URI", "http://");
  CHECK(tracks({}) == std::pair{false, false});
  CHECK(folder.said.size() == 1);
}

TEST_CASE("a server that cannot be is refused before the run in the folder is moved aside", "[mlflow][cli]") {
  const Variable unset("MLFLOW_TRACKING_URI", nullptr);
  const moe::test::RunShop shop;
  REQUIRE(run(shop, shop.training("out", 2)).code == 0);
  const std::string rows = file_text(shop / "out/metrics.jsonl");
  CHECK(run(shop, shop.training("out", 2, {"--mlflow=htp://host"})).code == 2);
  CHECK(file_text(shop / "out/metrics.jsonl") == rows);
  const Variable cut("MLFLOW_TRACKING_URI", "http://");
  const Result ignored = run(shop, shop.training("new", 2));
  CHECK(ignored.code == 0);
  CHECK_THAT(ignored.out, Contains("MLFLOW_TRACKING_URI is ignored"));
}

TEST_CASE("a run whose trained model writes nothing is a failed one to the server", "[mlflow][cli]") {
  if (without_http()) return;
  FakeMlflow server;
  const moe::test::RunShop shop;
  const Result r = run(shop, shop.training("out", 1, moe::test::breaking({"--mlflow=" + server.url()})));
  CHECK(r.code == 6);
  CHECK(server.run().status == "FAILED");
}

TEST_CASE("exit codes become the status of a run", "[mlflow]") {
  CHECK(run_status(0) == RunStatus::finished);
  for (const int code : {1, 2, 3, 4, 5, 6}) CHECK(run_status(code) == RunStatus::failed);
  for (const int code : {130, 141, 143}) CHECK(run_status(code) == RunStatus::killed);
}
