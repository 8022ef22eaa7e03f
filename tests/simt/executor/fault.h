#pragma once
// Faults that the executor finds in kernels and in the host code that launches them.
//
// A fault does not stop the kernel where the kernel can go on, so that one run finds all there are. Faults
// gather in a list; a test program that ends with any that nobody took has failed (run_tests.cpp).

#include <cstdint>
#include <string>
#include <vector>

namespace simt {

enum class FaultKind {
  race,           // two accesses that nothing orders, one of them a write
  bounds,         // an access outside every allocation, or a red zone that was written to
  alignment,      // an access to an address that is no multiple of its size
  uninitialised,  // a read of memory that nothing has written
  collective,     // a warp collective with a wrong mask or among lanes that are elsewhere
  barrier,        // a block barrier that not all threads reach, or that they reach at different places
  launch,         // a launch that no GPU would accept
  stream,         // host code that does not wait for what it uses
  capture,        // a call that is forbidden while a stream is captured
};
const char* name_of(FaultKind);

struct Fault {
  FaultKind kind;
  std::string message;  // "reverse_kernel, block (0,0,0), thread (3,0,0): ..."
  std::string key;
};

// Adds a fault, with the kernel, block and thread that run just now. Of several with the same key (the
// message, unless given) the first is kept, and 64 in all: what one thread does wrong others do as well.
void report(FaultKind, const std::string& message, const std::string& key = "");

// The faults so far, which are then forgotten.
std::vector<Fault> take_faults();
// Takes them and prints them on stderr; whether there were any.
bool print_faults();
// How many times they were taken: what was reported before then may be reported again.
uint64_t times_taken();

}  // namespace simt
