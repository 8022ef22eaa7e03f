#include "tests/simt/kernel_list.h"

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/simt/executor/launch.h"

namespace moe::test {

std::set<std::string> kernels_in(const std::string& folder) {
  static const std::regex declaration(R"(__global__\s+void\s+(?:__launch_bounds__\([^()]*\)\s+)?(\w+)\s*\()");
  std::set<std::string> names;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    if (file.path().extension() != ".cu" && file.path().extension() != ".cuh") continue;
    std::ostringstream text;
    text << std::ifstream(file.path()).rdbuf();
    const std::string source = text.str();
    for (auto it = std::sregex_iterator(source.begin(), source.end(), declaration);
         it != std::sregex_iterator(); ++it)
      names.insert((*it)[1]);
  }
  return names;
}

std::set<std::string> kernels_not_run(const std::string& folder) {
  std::set<std::string> names = kernels_in(folder);
  for (const std::string& run : simt::kernels_run()) names.erase(run.substr(0, run.find('<')));
  return names;
}

}  // namespace moe::test
