#pragma once
// Barriers and warp collectives, under their CUDA names.

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "block.h"
#include "fault.h"

namespace simt {

inline constexpr unsigned kAllLanes = ~0u;

// Runs exchange(slots) with the arguments of all lanes of the mask; see Collective in block.h.
template <class Slot>
void collective(const char* name, unsigned mask, Slot& slot, void (*exchange)(Slot* const* slots),
                const Location& location, bool orders_memory = false, const void* code = nullptr) {
  // The one place where the arguments lose their type: a function pointer cannot be called with another's.
  struct Erased {
    void (*exchange)(Slot* const*);
    Slot* slot;
  } erased{exchange, &slot};
  Block::current()->collective({name,
                                [](void* const* slots) {
                                  Slot* typed[32] = {};
                                  void (*run)(Slot* const*) = nullptr;
                                  for (int l = 0; l < 32; ++l)
                                    if (slots[l]) {
                                      run = static_cast<Erased*>(slots[l])->exchange;
                                      typed[l] = static_cast<Erased*>(slots[l])->slot;
                                    }
                                  run(typed);
                                },
                                orders_memory, code},
                               mask, &erased, location);
}

template <class T>
struct Shuffle {
  T in, out;
  int operand, width;
};

// `source` tells which lane's value lane l gets from (l, operand, first lane of its group, width); -1: its
// own.
template <int (*source)(int, int, int, int), class T>
T shuffle(const char* name, unsigned mask, T value, int operand, int width, const Location& location) {
  Shuffle<T> slot{value, value, operand, width};
  collective<Shuffle<T>>(
      name, mask, slot,
      [](Shuffle<T>* const* slots) {
        for (int l = 0; l < 32; ++l) {
          if (!slots[l]) continue;
          const int from =
              source(l, slots[l]->operand, l / slots[l]->width * slots[l]->width, slots[l]->width);
          if (from < 0) continue;
          if (slots[from]) {
            slots[l]->out = slots[from]->in;
            continue;
          }
          std::memset(static_cast<void*>(&slots[l]->out), 0xFF, sizeof(T));
          report(FaultKind::collective, "a shuffle reads lane " + std::to_string(from) +
                                            ", which takes no part: not in the mask, or it has left");
        }
      },
      location);
  return slot.out;
}

inline int indexed_lane(int, int index, int first, int width) {
  return first + (index & (width - 1));
}
inline int xor_lane(int lane, int bits, int first, int width) {
  const int from = lane ^ bits;
  return from < first + width ? from : -1;
}
inline int lower_lane(int lane, int distance, int first, int) {
  return lane - distance >= first ? lane - distance : -1;
}
inline int higher_lane(int lane, int distance, int first, int width) {
  return lane + distance < first + width ? lane + distance : -1;
}

struct Vote {
  bool predicate;
  unsigned ballot;
};

inline unsigned ballot(const char* name, unsigned mask, bool predicate, const Location& location) {
  Vote slot{predicate, 0};
  collective<Vote>(
      name, mask, slot,
      [](Vote* const* slots) {
        unsigned bits = 0;
        for (int l = 0; l < 32; ++l)
          if (slots[l] && slots[l]->predicate) bits |= 1u << l;
        for (int l = 0; l < 32; ++l)
          if (slots[l]) slots[l]->ballot = bits;
      },
      location);
  return slot.ballot;
}

template <class T>
struct Reduction {
  T in, out;
};

// All lanes get op over the values of all, in the order of lanes.
template <auto op, class T>
T reduce(const char* name, unsigned mask, T value, const Location& location) {
  Reduction<T> slot{value, value};
  collective<Reduction<T>>(
      name, mask, slot,
      [](Reduction<T>* const* slots) {
        Reduction<T>* first = nullptr;
        T sum{};
        for (int l = 0; l < 32; ++l) {
          if (!slots[l]) continue;
          sum = first ? op(sum, slots[l]->in) : slots[l]->in;
          first = slots[l];
        }
        for (int l = 0; l < 32; ++l)
          if (slots[l]) slots[l]->out = sum;
      },
      location);
  return slot.out;
}

struct Match {
  uint64_t bits;
  unsigned lanes;
};

inline unsigned match(unsigned mask, uint64_t bits, const Location& location) {
  Match slot{bits, 0};
  collective<Match>(
      "__match_any_sync", mask, slot,
      [](Match* const* slots) {
        for (int l = 0; l < 32; ++l)
          for (int other = 0; slots[l] && other < 32; ++other)
            if (slots[other] && slots[other]->bits == slots[l]->bits) slots[l]->lanes |= 1u << other;
      },
      location);
  return slot.lanes;
}

// The instructions that only a GPU has, __syncwarp among them, exchange nothing.
struct Nothing {};

}  // namespace simt

inline void __syncthreads(const simt::Location& at = simt::Location::current()) {
  simt::Block::current()->barrier(false, at);
}
inline int __syncthreads_count(int predicate, const simt::Location& at = simt::Location::current()) {
  return simt::Block::current()->barrier(predicate != 0, at);
}
inline int __syncthreads_or(int predicate, const simt::Location& at = simt::Location::current()) {
  return simt::Block::current()->barrier(predicate != 0, at) != 0;
}
inline int __syncthreads_and(int predicate, const simt::Location& at = simt::Location::current()) {
  return simt::Block::current()->barrier(predicate == 0, at) == 0;
}

inline void __syncwarp(unsigned mask = simt::kAllLanes,
                       const simt::Location& at = simt::Location::current()) {
  simt::Nothing slot;
  simt::collective<simt::Nothing>(
      "__syncwarp", mask, slot, [](simt::Nothing* const*) {}, at, true);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize,
              const simt::Location& at = simt::Location::current()) {
  return simt::shuffle<simt::indexed_lane>("__shfl_sync", mask, value, lane, width, at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize,
                  const simt::Location& at = simt::Location::current()) {
  return simt::shuffle<simt::xor_lane>("__shfl_xor_sync", mask, value, bits, width, at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = warpSize,
                 const simt::Location& at = simt::Location::current()) {
  return simt::shuffle<simt::lower_lane>("__shfl_up_sync", mask, value, static_cast<int>(distance), width,
                                         at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = warpSize,
                   const simt::Location& at = simt::Location::current()) {
  return simt::shuffle<simt::higher_lane>("__shfl_down_sync", mask, value, static_cast<int>(distance), width,
                                          at);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              const simt::Location& at = simt::Location::current()) {
  return simt::ballot("__ballot_sync", mask, predicate != 0, at);
}
inline int __any_sync(unsigned mask, int predicate, const simt::Location& at = simt::Location::current()) {
  return simt::ballot("__any_sync", mask, predicate != 0, at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, const simt::Location& at = simt::Location::current()) {
  return simt::ballot("__all_sync", mask, predicate == 0, at) == 0;
}

template <class T>
requires(std::is_integral_v<T> && sizeof(T) == 4) T
    __reduce_add_sync(unsigned mask, T value, const simt::Location& at = simt::Location::current()) {
  constexpr auto add = [](unsigned a, unsigned b) { return a + b; };
  return static_cast<T>(simt::reduce<add>("__reduce_add_sync", mask, static_cast<unsigned>(value), at));
}
template <class T>
requires(std::is_integral_v<T> && sizeof(T) == 4) T
    __reduce_max_sync(unsigned mask, T value, const simt::Location& at = simt::Location::current()) {
  constexpr auto larger = [](T a, T b) { return a > b ? a : b; };
  return simt::reduce<larger>("__reduce_max_sync", mask, value, at);
}
template <class T>
requires(std::is_integral_v<T> && sizeof(T) == 4) T
    __reduce_min_sync(unsigned mask, T value, const simt::Location& at = simt::Location::current()) {
  constexpr auto smaller = [](T a, T b) { return a < b ? a : b; };
  return simt::reduce<smaller>("__reduce_min_sync", mask, value, at);
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, const simt::Location& at = simt::Location::current()) {
  uint64_t bits = 0;
  static_assert(sizeof value <= sizeof bits);
  std::memcpy(&bits, &value, sizeof value);
  return simt::match(mask, bits, at);
}
