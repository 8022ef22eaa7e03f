#pragma once
// Where in the sources an instruction comes from.

#include <string>

namespace simt {

// "layer_norm_cuda.cu:57" of the instruction before this address; without binutils' addr2line or debug
// information an offset in the program; "a copy" of nullptr.
std::string place_of(const void* code);

}  // namespace simt
