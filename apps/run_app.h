#pragma once
// What all applications share: parsing, the one line an error prints, and exit codes.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "core/error.h"
#include "model/config.h"

namespace moe {

// 1 to 6 are the values of ErrorKind.
inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

// Parses the arguments into `app`, runs `body` and returns the exit code. An error becomes one line on
// stderr, "train_moe: ...", and its documented code.
int run_app(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

// One line on stderr, "train_moe: ...". Messages quote names from files and arguments: control characters do
// not reach the terminal.
void print_error(const CLI::App& app, std::string message);

// ErrorKind::resource, for text that stdout did not take; `code` is an errno.
Error lost_output(int code);

// From here on the first SIGINT, SIGTERM or SIGPIPE only sets interrupt_code(), and a second ends the
// process; SIGUSR1 sets what take_save_request() gives.
void watch_interrupts();
// 0, or the exit code a signal asks for: 130 for Ctrl-C, 143 for SIGTERM, 141 for a reader that went away.
int interrupt_code();
// Whether SIGUSR1 has come since the last call.
bool take_save_request();

// "8,996,545 parameters, 2,674,369 of them active for a token; 8 layers, 2 of 8 experts in each"
std::string describe(const ModelConfig& config);

// The bound of --threads.
inline constexpr int kMaxThreads = 1024;
void add_threads_option(CLI::App& app, int& threads);

}  // namespace moe
