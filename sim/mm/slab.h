// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_SLAB_H_
#define SIM_MM_SLAB_H_

// kmalloc, for tests and for the checks at the end of a history.
//
// Follows mm/slub.c in what a caller sees. Objects lie in simulated pages; what
// is known about them lies in host memory. Other than in the kernel, a slab
// whose last object was freed goes back to the buddy allocator at once, so
// that free pages can be compared exactly; there are no per-cpu slabs, and
// objects larger than half a page get pages of their own.
//
// Always checked: freeing what is not allocated, writing behind the end of an
// object (the bytes up to its class's size are a red zone), writing to it
// after it was freed.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sim {

void SlabInit();  // kmem_cache_init(): kmalloc works from here on

struct SlabUse {
  uint64_t objects = 0;  // live ones
  uint64_t bytes = 0;    // as asked for
  uint64_t peak = 0;     // the most bytes at a time since SlabResetPeak()
};
SlabUse SlabInUse();
void SlabResetPeak();
// "64 bytes by luo_session_alloc", one entry per live object, in order of
// address; for reports.
std::vector<std::string> SlabLiveObjects();
// Checks red zones and poison of all slabs; reports "discipline".
bool VerifySlabs();

// Under AddressSanitizer: makes memory of freed objects and red zones
// inaccessible to the host. Off by default: whoever switches it on calls
// SlabForget() before anything overwrites a dead kernel's memory (kexec, end
// of the machine).
void SetSlabAsanPoisoning(bool on);
void SlabForget();

}  // namespace sim

#endif  // SIM_MM_SLAB_H_
