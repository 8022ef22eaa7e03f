#include "schedule.h"

#include <algorithm>
#include <numeric>

namespace simt {
namespace {

constexpr int kMostThreads = 1024;

int nth_bit(uint32_t bits, uint32_t n) {
  while (n--) bits &= bits - 1;
  return std::countr_zero(bits);
}

}  // namespace

Options& options() {
  static Options o;
  return o;
}

uint64_t Random::next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

void ReadyThreads::reset(int threads, uint64_t seed) {
  schedule_ = options().schedule;
  random_ = Random(seed);
  warps_ = 0;
  for (int w = 0; w < 32; ++w) {
    const int lanes = std::clamp(threads - 32 * w, 0, 32);
    lanes_[w] = lanes == 32 ? ~0u : (1u << lanes) - 1;
    if (lanes) warps_ |= 1u << w;
  }
  cursor_ = schedule_ == Schedule::reverse ? threads - 1 : 0;
  draw_warp_order();
}

void ReadyThreads::add(int thread) {
  lanes_[thread / 32] |= 1u << (thread % 32);
  warps_ |= 1u << (thread / 32);
}

int ReadyThreads::take() {
  if (!warps_) return -1;
  int thread = 0;
  switch (schedule_) {
    case Schedule::forward:
      thread = next_up(cursor_);
      cursor_ = (thread + 1) % kMostThreads;
      break;
    case Schedule::reverse:
      thread = next_down(cursor_);
      cursor_ = (thread + kMostThreads - 1) % kMostThreads;
      break;
    case Schedule::random: {
      const int w = nth_bit(warps_, random_.below(static_cast<uint32_t>(std::popcount(warps_))));
      thread = 32 * w + nth_bit(lanes_[w], random_.below(static_cast<uint32_t>(std::popcount(lanes_[w]))));
      break;
    }
    case Schedule::warp: {
      const uint8_t w = *std::ranges::find_if(warp_order_, [&](uint8_t i) { return warps_ >> i & 1; });
      thread = 32 * w + std::countr_zero(lanes_[w]);
      break;
    }
  }
  uint32_t& lanes = lanes_[thread / 32];
  lanes &= ~(1u << (thread % 32));
  if (!lanes) warps_ &= ~(1u << (thread / 32));
  return thread;
}

void ReadyThreads::block_barrier() {
  if (schedule_ == Schedule::warp) draw_warp_order();
}

// The first ready thread from `from` on, then from 0 on.
int ReadyThreads::next_up(int from) const {
  const int w = from / 32;
  if (const uint32_t lanes = lanes_[w] & (~0u << (from % 32))) return 32 * w + std::countr_zero(lanes);
  const uint32_t later = w == 31 ? 0 : warps_ & (~0u << (w + 1));
  const int next = std::countr_zero(later ? later : warps_);
  return 32 * next + std::countr_zero(lanes_[next]);
}

int ReadyThreads::next_down(int from) const {
  const int w = from / 32;
  if (const uint32_t lanes = lanes_[w] & (~0u >> (31 - from % 32)))
    return 32 * w + 31 - std::countl_zero(lanes);
  const uint32_t earlier = warps_ & ((1u << w) - 1);
  const int next = 31 - std::countl_zero(earlier ? earlier : warps_);
  return 32 * next + 31 - std::countl_zero(lanes_[next]);
}

void ReadyThreads::draw_warp_order() {
  std::iota(std::begin(warp_order_), std::end(warp_order_), uint8_t{0});
  if (schedule_ != Schedule::warp) return;
  for (uint32_t i = 31; i > 0; --i) std::swap(warp_order_[i], warp_order_[random_.below(i + 1)]);
}

// A walk of constant step visits every block once when step and number have no common divisor.
BlockOrder::BlockOrder(uint64_t blocks, uint64_t seed) : blocks_(blocks) {
  if (blocks < 2) return;
  switch (options().schedule) {
    case Schedule::forward:
      return;
    case Schedule::reverse:
      first_ = blocks - 1;
      step_ = blocks - 1;
      return;
    case Schedule::random:
    case Schedule::warp:
      Random random(seed);
      first_ = random.next() % blocks;
      do step_ = 1 + random.next() % (blocks - 1);
      while (std::gcd(step_, blocks) != 1);
  }
}

}  // namespace simt
