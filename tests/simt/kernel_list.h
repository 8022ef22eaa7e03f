#pragma once
// The project's kernels, read from its sources.

#include <set>
#include <string>

namespace moe::test {

// The names of the __global__ functions in *.cu and *.cuh below the folder.
std::set<std::string> kernels_in(const std::string& folder);

// Those of them that simt::counters_of_kernels() does not name.
std::set<std::string> kernels_not_run(const std::string& folder);

}  // namespace moe::test
