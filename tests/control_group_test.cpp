// The control groups that limit a process.

#include "core/control_group.h"

#include "tests/catch.h"

namespace moe {
namespace {

using Folders = std::vector<std::filesystem::path>;

}  // namespace

TEST_CASE("the limits of a control group are those of all above it", "[memory][parallel]") {
  CHECK(control_group_folders("memory", "0::/user.slice/run-7.scope\n") ==
        Folders{"/sys/fs/cgroup/user.slice/run-7.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"});
  CHECK(control_group_folders("cpu", "0::/\n") == Folders{"/sys/fs/cgroup"});
}

TEST_CASE("in version 1 each controller has groups of its own", "[memory][parallel]") {
  const std::string memberships = "5:memory:/slurm/job_3\n2:cpu,cpuacct:/batch\n1:cpuset:/other\nno group\n";
  CHECK(control_group_folders("memory", memberships) ==
        Folders{"/sys/fs/cgroup/memory/slurm/job_3", "/sys/fs/cgroup/memory/slurm", "/sys/fs/cgroup/memory"});
  CHECK(control_group_folders("cpu", memberships) ==
        Folders{"/sys/fs/cgroup/cpu/batch", "/sys/fs/cgroup/cpu"});
  CHECK(control_group_folders("cpu", "").empty());
}

}  // namespace moe
