#pragma once
// Typed errors. Libraries throw them, applications print what() as one line and leave with exit_code().

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace moe {

// The kind of a failure; its value is the exit code that every application documents.
enum class ErrorKind {
  runtime = 1,     // a defect of the program or a broken contract between its parts
  usage = 2,       // an option or a configuration that makes no sense
  data = 3,        // a text that cannot be used
  checkpoint = 4,  // a model file that cannot be trusted
  resource = 5,    // no memory, no disk
  diverged = 6,    // training ran into NaN or infinity
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// throw error(ErrorKind::usage, "--top-k {} is larger than --num-experts {}", k, e);
template <class... Args>
Error error(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  return {kind, fmt::format(format, std::forward<Args>(args)...)};
}

// Throws a runtime error unless `ok`: for contracts between parts of the program, such as shapes.
template <class... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw error(ErrorKind::runtime, format, std::forward<Args>(args)...);
}

}  // namespace moe
