#pragma once
// Where in the sources an instruction comes from.

#include <string>

namespace simt {

// "layer_norm_cuda.cu:57" of the instruction before this address; without binutils' addr2line or debug
// information an offset in the program; "a copy" of nullptr.
std::string place_of(const void* code);
// The same with the calls that were inlined around it, innermost first, "mma.h:45 in tiles.cuh:175"; "" where
// the sources are not known. Two copies of one piece of code, of an unrolled loop say, are in one place.
std::string calls_of(const void* code);

}  // namespace simt
