// Runs reported to an MLflow server that behaves well or badly.

#include "model/mlflow.h"

#include <sys/resource.h>

#include "tests/mlflow_fixture.h"

using namespace moe;
using Catch::Matchers::Contains;

namespace {

constexpr Mood kBadMoods[] = {Mood::hangs,      Mood::trickles,  Mood::fails,        Mood::garbage,
                              Mood::wrong_json, Mood::no_json,   Mood::huge,         Mood::cuts_late,
                              Mood::cuts_early, Mood::redirects, Mood::refuses_user, Mood::forbids};

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
  wait_for_metrics(server);
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
    CHECK_THAT(folder.all_said(),
               Contains("50 rows are not sent") &&
                   Contains("./mlflow-sync " + folder.path().string() + " --mlflow " + server.url()));
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
      wait_for_metrics(server);
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

TEST_CASE("a server that refuses is quoted, and people are told who gets their password", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  MlflowClient client({server.url()});
  const auto refusal = [&](Mood mood) {
    server.mood = mood;
    return message_of(ErrorKind::runtime, [&] { client.experiment_id("e"); });
  };
  const std::string unknown = refusal(Mood::refuses_user), forbidden = refusal(Mood::forbids);
  CHECK_THAT(unknown, Contains("MLFLOW_TRACKING_TOKEN") && Contains("--mlflow"));
  CHECK_THAT(forbidden, Contains("PERMISSION_DENIED") && Contains("not your experiment"));
  CHECK_THAT(forbidden, Contains("MLFLOW_TRACKING_TOKEN") && Contains("--mlflow"));
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
  folder.log_run(server.url(), 25, 20);  // back to what it started with
  CHECK(server.run().tags.at("resumed.max_iters") == "5000");
  folder.log_run(server.url(), 1);
  CHECK(server.runs().size() == 2);
}

TEST_CASE("a run that is resumed while another process sends its spool goes on, and sends the rest",
          "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  folder.log_run(server.url(), 10, {}, kParams, RunStatus::killed);
  MlflowClient client({server.url()});
  std::optional<MlflowSender> other;
  other.emplace(client, folder.spool());
  folder.said.clear();
  Mlflow mlflow(settings_for(server.url()), folder.path(), kParams, 10, folder.say);
  int64_t step = 10;
  const auto log_until_said = [&](size_t lines) {
    for (int i = 0; i < 2000 && folder.said.size() < lines; ++i) {
      mlflow.log(row_of(step++));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    REQUIRE(folder.said.size() == lines);
  };
  log_until_said(1);
  CHECK_THAT(folder.said[0], Contains("another process sends it") && Contains("training goes on"));
  while (other->send_next()) {
  }
  other->close_run();
  CHECK(server.run().status == "KILLED");
  other.reset();
  log_until_said(2);
  CHECK(server.run().status == "RUNNING");
  mlflow.finish(RunStatus::finished, {"config.json", "model.safetensors"});
  check_whole(server, folder, step);
}

TEST_CASE("a run that is resumed without a spool starts one", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  folder.log_run(server.url(), 5, 3);
  CHECK(server.run().different_metrics().size() == 5);  // two rows, one of them with three values
  CHECK(server.run().tags.at("resumed.step") == "3");
}

TEST_CASE("a run that is resumed with a spool whose first line never came to the disk starts another",
          "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  std::filesystem::create_directories(folder / "mlflow");
  write_file(folder / "mlflow/1-ab.spool", "");
  folder.log_run(server.url(), 5, 3);
  CHECK(server.run().different_metrics().size() == 5);
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

TEST_CASE("a spool that somebody deletes in mid-run costs the run nothing", "[mlflow]") {
  if (without_http()) return;
  RunFolder folder;
  Mlflow mlflow(settings_for("http://127.0.0.1:9"), folder.path(), kParams, {}, folder.say);
  mlflow.log(row_of(0));
  std::filesystem::remove_all(folder / "mlflow");
  mlflow.log(row_of(1));
  mlflow.finish(RunStatus::finished, {});
  CHECK_THAT(folder.all_said(), Contains("is lost"));
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

TEST_CASE("a file that cannot be read for the moment is not left out", "[mlflow]") {
  if (without_http()) return;
  FakeMlflow server;
  RunFolder folder;
  {
    SpoolWriter spool(folder.path(), {"ab", server.url(), "makemoe", "out", 1, kParams, {}});
    spool.append(RunFile{"config.json"});
  }
  MlflowClient client({server.url()});
  MlflowSender sender(client, folder.spool());
  REQUIRE(sender.send_next());
  rlimit files{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &files) == 0);
  const rlimit none{0, files.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK_THROWS_AS(sender.send_next(), Error);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &files) == 0);
  CHECK(sender.left_out().empty());
  CHECK(sender.send_next());
  CHECK(server.run().files.contains("config.json"));
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
