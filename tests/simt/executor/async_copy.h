#pragma once
// cp.async: copies from global to shared memory that end some time before the thread waits for them. Here
// they happen as late as they may, at the wait; until then the target is NaN, and AddressSanitizer stops at
// its use.

#include <cstddef>

namespace simt {

void copy_async(void* shared, const void* global, int bytes);
void copy_async_commit();
void copy_async_wait(int pending_groups);

namespace async_copies {
void begin_block(size_t threads);
}

}  // namespace simt
