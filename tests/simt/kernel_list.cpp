#include "tests/simt/kernel_list.h"

#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include "tests/simt/executor/counters.h"

namespace moe::test {
namespace {

void skip_space(std::string_view& text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
}

bool skip_word(std::string_view& text, std::string_view word) {
  skip_space(text);
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

// The name in what follows __global__: "void __launch_bounds__(128) name(...". Empty when it is no
// declaration.
std::string name_of_kernel(std::string_view text) {
  if (!skip_word(text, "void")) return "";
  if (skip_word(text, "__launch_bounds__")) text.remove_prefix(text.find(')') + 1);
  skip_space(text);
  size_t length = 0;
  while (std::isalnum(static_cast<unsigned char>(text[length])) || text[length] == '_') ++length;
  return std::string(text.substr(0, length));
}

}  // namespace

std::set<std::string> kernels_in(const std::string& folder) {
  constexpr std::string_view kQualifier = "__global__";
  std::set<std::string> names;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    if (file.path().extension() != ".cu" && file.path().extension() != ".cuh") continue;
    std::ostringstream text;
    text << std::ifstream(file.path()).rdbuf();
    const std::string source = text.str();
    for (size_t at = source.find(kQualifier); at != source.npos; at = source.find(kQualifier, at + 1))
      names.insert(name_of_kernel(std::string_view(source).substr(at + kQualifier.size())));
  }
  names.erase("");
  return names;
}

std::set<std::string> kernels_not_run(const std::string& folder) {
  std::set<std::string> names = kernels_in(folder);
  for (const auto& [run, cost] : simt::counters_of_kernels()) names.erase(run.substr(0, run.find('<')));
  return names;
}

}  // namespace moe::test
