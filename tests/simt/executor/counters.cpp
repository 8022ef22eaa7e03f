#include "counters.h"

namespace simt {
namespace {

constexpr uint64_t Counters::*kAll[] = {&Counters::kernels,
                                        &Counters::blocks,
                                        &Counters::threads,
                                        &Counters::products,
                                        &Counters::graph_launches,
                                        &Counters::host_syncs,
                                        &Counters::allocations,
                                        &Counters::frees,
                                        &Counters::copies,
                                        &Counters::bytes_to_device,
                                        &Counters::bytes_to_host,
                                        &Counters::bytes_on_device,
                                        &Counters::fills,
                                        &Counters::bytes_filled,
                                        &Counters::bytes_loaded,
                                        &Counters::bytes_stored,
                                        &Counters::bytes_loaded_by_warps,
                                        &Counters::bytes_stored_by_warps,
                                        &Counters::bytes_in_128_bits,
                                        &Counters::bytes_loaded_by_blocks,
                                        &Counters::bytes_stored_by_blocks,
                                        &Counters::bytes_read_once,
                                        &Counters::bytes_written_once,
                                        &Counters::sectors,
                                        &Counters::least_sectors,
                                        &Counters::shared_accesses,
                                        &Counters::bank_conflicts};
static_assert(sizeof kAll / sizeof kAll[0] == sizeof(Counters) / sizeof(uint64_t));

}  // namespace

Counters& Counters::operator+=(const Counters& other) {
  for (const auto member : kAll) this->*member += other.*member;
  return *this;
}

Counters Counters::operator-(const Counters& other) const {
  Counters difference = *this;
  for (const auto member : kAll) difference.*member -= other.*member;
  return difference;
}

Counters& counters() {
  static Counters c;
  return c;
}

std::map<std::string, Counters>& counters_of_kernels() {
  static std::map<std::string, Counters> all;
  return all;
}

}  // namespace simt
