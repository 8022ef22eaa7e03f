#include "apps/run_app.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <string>
#include <utility>

#include "core/file.h"
#include "model/number_text.h"

namespace moe {
namespace {

volatile std::sig_atomic_t signal_seen = 0, save_wanted = 0;

// Only calls that POSIX allows in a signal handler.
void on_signal(int number) {
  if (number == SIGPIPE) {  // of every line that is written from now on: nobody wants to leave at once
    if (!signal_seen) signal_seen = number;
    return;
  }
  if (signal_seen) _exit(128 + number);
  signal_seen = number;
  constexpr char kMessage[] = "\nstopping after this step; once more to leave at once\n";
  if (write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1) < 0) return;
}

void on_save_signal(int) {
  save_wanted = 1;
}

int report(const CLI::App& app, std::string message, int code) {
  print_error(app, std::move(message));
  return code;
}

}  // namespace

void print_error(const CLI::App& app, std::string message) {
  for (char& c : message)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  fmt::print(stderr, "{}: {}\n", app.get_name(), message);
}

Error lost_output(int code) {
  return error(ErrorKind::resource, "cannot write to stdout: {}", std::strerror(code));
}

int run_app(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  try {
    ignore_file_size_signal();
    // These win over all else on the line: they act as soon as they are read.
    app.get_help_ptr()->each([](const std::string&) { throw CLI::CallForHelp(); })->trigger_on_parse();
    app.set_version_flag("--version", MOE_VERSION)->trigger_on_parse();
    app.parse(argc, argv);
    const int code = body();
    // Output that was lost is a failure, unless its reader went away, who knows.
    if (std::fflush(stdout) != 0 && errno != EPIPE) throw lost_output(errno);
    return code;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    return report(app, std::string(e.what()) + " (--help lists all options)", kExitUsage);
  } catch (const Error& e) {
    return report(app, e.what(), e.exit_code());
  } catch (const std::filesystem::filesystem_error& e) {
    return report(app, e.what(), static_cast<int>(ErrorKind::resource));
  } catch (const std::bad_alloc&) {
    return report(app, "out of memory", static_cast<int>(ErrorKind::resource));
  } catch (const std::exception& e) {
    return report(app, e.what(), static_cast<int>(ErrorKind::runtime));
  }
}

void watch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM, SIGPIPE}) sigaction(number, &action, nullptr);
  action.sa_handler = on_save_signal;
  sigaction(SIGUSR1, &action, nullptr);
}

int interrupt_code() {
  return signal_seen ? 128 + signal_seen : 0;
}

bool take_save_request() {
  if (!save_wanted) return false;
  save_wanted = 0;
  return true;
}

std::string describe(const ModelConfig& c) {
  return fmt::format("{} parameters, {} of them active for a token; {} layers, {} of {} experts in each",
                     count_text(c.parameters()), count_text(c.active_parameters()), c.n_layer, c.top_k,
                     c.num_experts);
}

void add_threads_option(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "threads that compute; 0: all cores this process may use")
      ->check(CLI::Range(0, kMaxThreads).description(""))
      ->capture_default_str();
}

}  // namespace moe
