// mlflow-sync: sends later what an MLflow server did not take while a run was going.

#include <csignal>

#include "apps/run_app.h"
#include "core/quote.h"
#include "model/mlflow_sender.h"
#include "model/tracking.h"

namespace {

using namespace moe;

struct SyncOptions {
  std::vector<std::string> folders;
  std::string server;
  bool again = false;
};

Error damaged_start(const std::filesystem::path& spool) {
  return error(ErrorKind::data, "{}: its first line is damaged", spool.string());
}

// Of the option, the environment or the spool, in this order. A spool may come from anywhere, and so may the
// server that it names: that one gets no password.
HttpServer server_for(const SyncOptions& options, const std::filesystem::path& spool) {
  HttpServer server = mlflow_settings_from_environment().server;
  if (!options.server.empty()) server.url = options.server;
  const char* uri = std::getenv("MLFLOW_TRACKING_URI");
  if (!options.server.empty() || (uri && *uri)) return server;
  const auto start = start_of_spool(spool);
  if (!start) throw damaged_start(spool);
  HttpServer named;
  named.url = start->server;
  return named;
}

void send(const SyncOptions& options, const std::filesystem::path& spool) {
  MlflowClient client(server_for(options, spool));
  MlflowSender sender(client, spool);
  if (options.again) sender.start_over();
  while (sender.send_next()) {
  }
  sender.close_run();
  if (!sender.run()) throw damaged_start(spool);
  fmt::print("{}: sent {} rows and {} files; {}\n", spool.string(), sender.rows_sent(), sender.files_sent(),
             client.page(*sender.run()));
  for (const std::string& file : sender.left_out()) fmt::print("{}: not sent: {}\n", spool.string(), file);
  if (sender.damaged_lines() > 0)
    fmt::print("{}: {} damaged lines were passed over\n", spool.string(), sender.damaged_lines());
}

// One spool that cannot be sent does not keep the others from it; the first failure gives the exit code.
int sync(const CLI::App& app, const SyncOptions& options) {
  int code = kExitOk;
  const auto fail = [&](const Error& e) {
    print_error(app, e.what());
    if (code == kExitOk) code = e.exit_code();
  };
  for (const std::string& folder : options.folders) {
    const auto spools = find_spools(folder);
    if (spools.empty())
      fail(error(ErrorKind::data, "{}: no run in this folder was tracked with MLflow", in_quotes(folder)));
    for (const auto& spool : spools) try {
        send(options, spool);
      } catch (const Error& e) {
        fail(e);
      }
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Sends to an MLflow server what it did not take while a run was going. What is there already is not "
      "sent again.",
      "mlflow-sync");
  SyncOptions options;
  app.add_option("DIR", options.folders, "folders of runs, as --out of train_moe")->type_name("")->required();
  app.add_option("--mlflow", options.server,
                 "the server; else that of MLFLOW_TRACKING_URI, else the one that the run was meant for")
      ->type_name("URL");
  app.add_flag("--again", options.again,
               "send everything again, into a new run where the server has lost the old one");
  std::signal(SIGPIPE, SIG_IGN);  // a server that hangs up is an error like others
  return run_app(app, argc, argv, [&] { return sync(app, options); });
}
