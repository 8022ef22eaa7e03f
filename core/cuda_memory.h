#pragma once
// The GPU and its memory, for builds with CUDA kernels (kWithCuda). Compiled without CUDA headers.
//
// Errors: ErrorKind::resource when the memory is used up, ErrorKind::runtime for all else, with CUDA's own
// words.

#include <cstdint>
#include <string>

#include "core/device.h"

namespace moe::cuda {

void* allocate(int64_t bytes);
void release(void* data) noexcept;

// On the stream, and so after what was launched there before; the host does not wait.
void fill_zero(void* data, int64_t bytes, Stream);
void copy_on_device(void* to, const void* from, int64_t bytes, Stream);
// These two wait: the host's memory may be used, or used again, when they return.
void copy_to_device(void* to, const void* from, int64_t bytes, Stream);
void copy_to_host(void* to, const void* from, int64_t bytes, Stream);

// These two do not wait. The host's memory must be pinned (core/cuda_graph.h) and stay as it is until the
// stream has got there.
void enter_copy_to_device(void* to, const void* from, int64_t bytes, Stream);
void enter_copy_to_host(void* to, const void* from, int64_t bytes, Stream);

// Working memory of the kernels that are launched on this stream before its next call: what runs on one
// stream runs in order. Uninitialised, aligned to 256 bytes. It grows when more is asked for than ever
// before, so a steady step allocates nothing. Outgrown memory is kept, since captured graphs may refer to it;
// it at least doubles, so that all together is less than twice what is in use.
void* scratch(int64_t bytes, Stream);

// Why there is no GPU to compute on, in a few words; empty when there is one. No state of the program
// changes.
std::string why_no_device();
std::string device_name();
// Bytes that could be allocated.
int64_t available_memory();

// current_precision() where the GPU has tensor cores for it and this build has code for them (the
// instructions in kernels/mma.h are compiled for sm_80 and later), else fp32.
Precision usable_precision();

// Throws ErrorKind::usage. For CUDA sources, whose compiler does not take core/error.h.
[[noreturn]] void refuse(const std::string& message);

}  // namespace moe::cuda
