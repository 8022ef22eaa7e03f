#include "launch.h"

#include <fmt/format.h>

#include "block.h"
#include "counters.h"
#include "fault.h"
#include "memory.h"
#include "shared.h"
#include "stream.h"
#include "traffic.h"

namespace simt {
namespace {

constexpr unsigned kMostThreads = 1024, kMostDepth = 64;              // of a block; in its z direction
constexpr unsigned kMostBlocksX = 0x7FFFFFFF, kMostBlocksYZ = 65535;  // of a grid

// "" when a GPU would take it.
std::string refusal(const LaunchConfig& c) {
  const uint64_t threads = uint64_t{c.block.x} * c.block.y * c.block.z;
  if (threads == 0 || threads > kMostThreads || c.block.z > kMostDepth)
    return fmt::format("a block of {} x {} x {} threads", c.block.x, c.block.y, c.block.z);
  const uint64_t blocks = uint64_t{c.grid.x} * c.grid.y * c.grid.z;
  if (blocks == 0 || c.grid.x > kMostBlocksX || c.grid.y > kMostBlocksYZ || c.grid.z > kMostBlocksYZ)
    return fmt::format("a grid of {} x {} x {} blocks", c.grid.x, c.grid.y, c.grid.z);
  if (c.shared_bytes > static_cast<size_t>(options().most_shared_bytes))
    return fmt::format("{} bytes of dynamic shared memory, where a block can have {}", c.shared_bytes,
                       options().most_shared_bytes);
  return "";
}

void run(const LaunchConfig& c, std::string_view kernel, const ThreadBody& body) {
  static Block block;
  const Counters before = counters();
  auto* const begin = static_cast<const std::byte*>(body.arguments.get());
  const Range arguments{begin, begin + body.bytes};
  const Grid grid{c.grid,   c.block, c.shared_bytes, c.shared_bytes > 0, kernel, counters().kernels++,
                  arguments};
  const uint64_t blocks = uint64_t{c.grid.x} * c.grid.y * c.grid.z;
  const BlockOrder order(blocks, options().seed + grid.launch);
  traffic::begin_launch(kernel);
  counters().blocks += blocks;
  counters().threads += blocks * c.block.x * c.block.y * c.block.z;
  for (uint64_t i = 0; i < blocks; ++i) {
    shared_memory::begin_block(grid);
    const bool finished = block.run(grid, order[i], body);
    shared_memory::end_block();
    traffic::end_block();
    if (!finished) {
      streams::fail();
      break;
    }
  }
  counters_of_kernels()[std::string(kernel)] += counters() - before;
  device_memory::check_red_zones(kernel);
}

}  // namespace

cudaError_t enqueue(const LaunchConfig& config, std::string_view kernel, ThreadBody body) {
  if (const std::string why = refusal(config); !why.empty()) {
    report(FaultKind::launch, fmt::format("{}: {}", kernel, why));
    return cudaErrorInvalidConfiguration;
  }
  return streams::enter(config.stream, std::string(kernel),
                        [=, body = std::move(body)] { run(config, kernel, body); });
}

}  // namespace simt
