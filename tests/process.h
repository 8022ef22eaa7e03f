#pragma once
// Runs the programs as a user does.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/temp_folder.h"

using Arguments = std::vector<std::string>;

inline std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A program that runs in a folder, with its output in files.
class Process {
 public:
  // arguments[0] is a program of this project, or a path. A descriptor in `out` takes the place of stdout's
  // file.
  Process(const std::filesystem::path& folder, Arguments arguments, int out = -1)
      : out_(folder / "stdout"), err_(folder / "stderr") {
    if (arguments[0].find('/') == std::string::npos)
      arguments[0] = std::string(MOE_APPS) + "/" + arguments[0];
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    for (const auto& path : {out_, err_}) std::ofstream{path};  // emptied before anybody looks
    pid_ = fork();
    if (pid_ != 0) return;
    const int null = open("/dev/null", O_RDONLY);
    const int to = out >= 0 ? out : open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = open(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (dup2(null, 0) == 0 && dup2(to, 1) == 1 && dup2(err, 2) == 2 && chdir(folder.c_str()) == 0)
      execv(argv[0], argv.data());
    _exit(127);
  }
  ~Process() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), wait();
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The exit code, or 128 + signal.
  int wait() {
    int status = 0;
    while (pid_ > 0 && waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  void kill(int signal) const { ::kill(pid_, signal); }
  // Whether stdout comes to hold `text`, in a minute's time.
  bool says(const std::string& text) const {
    for (int i = 0; i < 6000; ++i) {
      if (out().find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  std::string out() const { return file_text(out_); }
  std::string err() const { return file_text(err_); }

 private:
  std::filesystem::path out_, err_;
  pid_t pid_ = -1;
};

struct Result {
  int code;
  std::string out, err;
};

inline Result run(const TempFolder& folder, const Arguments& arguments) {
  Process process(folder.path(), arguments);
  const int code = process.wait();
  return {code, process.out(), process.err()};
}
