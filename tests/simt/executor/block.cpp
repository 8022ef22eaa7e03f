#include "block.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "fault.h"
#include "race.h"
#include "shared.h"
#include "watch.h"

namespace simt {
namespace {

Block* g_block = nullptr;

uint3 unravel(uint64_t i, const dim3& extent) {
  return {static_cast<unsigned>(i % extent.x), static_cast<unsigned>(i / extent.x % extent.y),
          static_cast<unsigned>(i / extent.x / extent.y)};
}

const char* file_name(const Location& at) {
  const char* slash = std::strrchr(at.file_name(), '/');
  return slash ? slash + 1 : at.file_name();
}

bool same_place(const Location& a, const Location& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

Block* Block::current() {
  return g_block;
}

std::string Block::place() {
  if (!g_block) return "";
  return fmt::format("{}, block ({},{},{}), thread ({},{},{})", g_block->grid().kernel, blockIdx.x,
                     blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
}

bool Block::run(const Grid& grid, uint64_t index, const ThreadBody& body) {
  grid_ = &grid;
  index_ = index;
  body_ = &body;
  live_ = static_cast<int>(grid.threads.x * grid.threads.y * grid.threads.z);
  lanes_.assign(static_cast<size_t>(live_), {});
  warps_.assign((lanes_.size() + 31) / 32, {});
  for (size_t i = 0; i < lanes_.size(); ++i) warps_[i / 32].live |= 1u << (i % 32);
  ready_.reset(live_, options().seed * 0x9E3779B97F4A7C15u + (grid.launch << 32) + index);
  picked_ = -1;
  at_barrier_ = barrier_count_ = 0;
  given_up_ = false;
  blockDim = grid.threads;
  gridDim = grid.blocks;
  blockIdx = unravel(index, grid.blocks);
  race::begin_block(lanes_.size());

  const watch::Executor executor;
  g_block = this;
  while (live_ > 0 && !given_up_) {
    const int next = picked_ >= 0 ? picked_ : ready_.take();
    picked_ = -1;
    if (next < 0) break;
    Lane& lane = lanes_[static_cast<size_t>(next)];
    if (!lane.fiber && idle_.empty()) {
      fibers_.push_back(std::make_unique<Fiber>(&Block::lane_body));
      idle_.push_back(fibers_.back().get());
    }
    if (!lane.fiber) {
      start_on(next, idle_.back());
      idle_.pop_back();
    } else {
      start_on(next, lane.fiber);
    }
    lane.fiber->resume();
  }
  const bool finished = live_ == 0;
  if (!finished) {
    if (!given_up_) report_deadlock();
    fibers_.clear();  // those that wait never go on
    idle_.clear();
  }
  g_block = nullptr;
  return finished;
}

void Block::give_up() {
  given_up_ = true;
  Fiber::pause();
  std::abort();  // never: no one resumes this fiber
}

void Block::start_on(int thread, Fiber* fiber) {
  Lane& lane = lanes_[static_cast<size_t>(thread)];
  lane.fiber = fiber;
  lane.state = State::running;
  running_ = thread;
  threadIdx = unravel(static_cast<uint64_t>(thread), grid_->threads);
}

// Runs threads from their beginning to their end. Those that never wait follow one another here, without a
// switch.
void Block::lane_body() {
  for (;;) {
    Block& block = *g_block;
    Fiber* const fiber = block.lanes_[static_cast<size_t>(block.running_)].fiber;
    watch::Executor::running = false;
    block.body_->run(block.body_->arguments.get());
    watch::Executor::running = true;
    block.finish();
    const int next = block.ready_.take();
    if (next >= 0 && block.lanes_[static_cast<size_t>(next)].state == State::unstarted) {
      block.start_on(next, fiber);
      continue;
    }
    block.picked_ = next;
    block.idle_.push_back(fiber);
    Fiber::pause();
  }
}

void Block::finish() {
  const int warp = running_ / 32;
  Warp& w = warps_[static_cast<size_t>(warp)];
  lanes_[static_cast<size_t>(running_)].state = State::done;
  w.live &= ~(1u << (running_ % 32));
  --live_;
  // Others may have waited for this thread alone.
  for (uint32_t waiting = w.waiting; waiting; waiting &= waiting - 1) {
    const Lane& lane =
        lanes_[32 * static_cast<size_t>(warp) + static_cast<size_t>(std::countr_zero(waiting))];
    if (lane.state == State::in_collective) complete_collective(warp, lane.mask);
  }
  complete_barrier();
}

void Block::wait() {
  if (lanes_[static_cast<size_t>(running_)].state != State::running) Fiber::pause();
}

void Block::wake(int thread) {
  Lane& lane = lanes_[static_cast<size_t>(thread)];
  if (thread == running_ && lane.state != State::done) {
    lane.state = State::running;
    return;
  }
  lane.state = State::ready;
  ready_.add(thread);
}

int Block::barrier(bool predicate, const Location& location) {
  const watch::Executor executor;
  Lane& lane = lanes_[static_cast<size_t>(running_)];
  lane.state = State::at_barrier;
  lane.predicate = predicate;
  lane.location = location;
  ++at_barrier_;
  complete_barrier();
  // The thread that came last queues as well, so that the schedule says who goes first.
  if (lane.state == State::running) {
    lane.state = State::ready;
    ready_.add(running_);
  }
  wait();
  return barrier_count_;
}

void Block::complete_barrier() {
  if (at_barrier_ == 0 || at_barrier_ < live_) return;
  barrier_count_ = 0;
  const Lane* first = nullptr;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const Lane& lane = lanes_[i];
    if (lane.state != State::at_barrier) continue;
    if (!first) first = &lane;
    if (!same_place(lane.location, first->location))
      report(FaultKind::barrier,
             fmt::format("threads of one block meet at different barriers, {}:{} and {}:{}",
                         file_name(first->location), first->location.line(), file_name(lane.location),
                         lane.location.line()));
    barrier_count_ += lane.predicate;
    wake(static_cast<int>(i));
  }
  at_barrier_ = 0;
  ready_.block_barrier();
  race::block_barrier();
}

void Block::report_deadlock() const {
  std::string who;
  for (size_t i = 0; i < lanes_.size();) {
    const std::string waits = describe_wait(i);
    size_t end = i + 1;
    while (end < lanes_.size() && describe_wait(end) == waits) ++end;
    who += fmt::format("\n  threads {}-{} {}", i, end - 1, waits);
    i = end;
  }
  report(FaultKind::barrier, "deadlock, each thread waits for another:" + who);
}

std::string Block::describe_wait(size_t i) const {
  const Lane& lane = lanes_[i];
  const std::string at = fmt::format("{}:{}", file_name(lane.location), lane.location.line());
  switch (lane.state) {
    case State::at_barrier:
      return "wait at the block barrier at " + at;
    case State::in_collective:
      return fmt::format("wait in {} with mask {:08x} at {}", lane.collective.name, lane.mask, at);
    case State::done:
      return "have left the kernel";
    default:
      return "can run";
  }
}

}  // namespace simt
