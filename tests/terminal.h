#pragma once
// What programs show on a terminal.

#include <cstdlib>

#include "tests/process.h"

// What a program writes to a terminal. It must succeed.
inline std::string run_on_terminal(const TempFolder& folder, Arguments arguments,
                                   const std::string& no_color) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(master >= 0);
  REQUIRE(grantpt(master) == 0);
  REQUIRE(unlockpt(master) == 0);
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(terminal >= 0);
  arguments[0] = std::string(MOE_APPS) + "/" + arguments[0];
  arguments.insert(arguments.begin(), {"/usr/bin/env", "TERM=xterm", "NO_COLOR=" + no_color});
  Process process(folder.path(), arguments, terminal);
  close(terminal);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(master, buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(master);
  CHECK(process.wait() == 0);
  return text;
}

inline std::string without_escapes(const std::string& text) {
  std::string plain;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\x1b')
      at = text.find('m', at);
    else
      plain += text[at];
  }
  return plain;
}
