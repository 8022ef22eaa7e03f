#include "core/control_group.h"

#include <fstream>
#include <iterator>
#include <sstream>

namespace moe {

std::vector<std::filesystem::path> control_group_folders(std::string_view controller) {
  std::ifstream file("/proc/self/cgroup");
  return control_group_folders(controller, {std::istreambuf_iterator<char>(file), {}});
}

std::vector<std::filesystem::path> control_group_folders(std::string_view controller,
                                                         const std::string& memberships) {
  const std::filesystem::path mount = "/sys/fs/cgroup";
  const std::string wanted = "," + std::string(controller) + ",";
  std::vector<std::filesystem::path> folders;
  // A hierarchy's number, its controllers (none: version 2), and the group: "4:cpu,cpuacct:/batch/job-7".
  std::istringstream lines(memberships);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && ("," + controllers + ",").find(wanted) == std::string::npos) continue;
    const std::filesystem::path root = controllers.empty() ? mount : mount / controller;
    std::filesystem::path group = std::filesystem::path(line.substr(second + 1)).relative_path();
    for (; !group.empty(); group = group.parent_path()) folders.push_back(root / group);
    folders.push_back(root);
  }
  return folders;
}

}  // namespace moe
