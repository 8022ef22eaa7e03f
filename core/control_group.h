#pragma once
// The control groups of Linux that limit this process: containers, batch systems and systemd use them.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

// The folders below /sys/fs/cgroup that may hold limits of a controller, "memory" or "cpu", for this process:
// of its group and of all above it, the innermost first, in version 2 and in version 1. A container may not
// see all of them; those that it does not see do not exist.
std::vector<std::filesystem::path> control_group_folders(std::string_view controller);

// The same of a process whose /proc/.../cgroup has this text.
std::vector<std::filesystem::path> control_group_folders(std::string_view controller,
                                                         const std::string& memberships);

}  // namespace moe
