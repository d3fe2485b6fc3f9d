// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_OWNERS_H_
#define SIM_MM_OWNERS_H_

// Who owns each page frame, as the allocators see it: one byte per frame,
// written where frames change hands. It repeats what struct pages and free
// lists say, so that a frame that is in two hands, or in none, shows. What
// lies in pools and files is told apart by the executor.

#include <cstdint>
#include <string>

namespace sim {

enum class Owner : uint8_t {
  kFree,      // in memblock's hands before, in the buddy allocator's after
              // memblock_free_all()
  kHole,      // no such frame
  kReserved,  // reserved in memblock and never given to the buddy allocator
  kSlab,      // kmalloc
  kKernel,    // allocated for the kernel by order
  kFolio,     // allocated for user pages
  kIsolated,  // taken off the free lists by alloc_contig
  kPoisoned,  // freed with PG_hwpoison set, or taken off the free lists for it
};
inline constexpr int kOwners = 8;

const char* OwnerName(Owner owner);
Owner OwnerOf(uint64_t pfn);
// The range may span nodes; holes in it stay holes.
void SetOwner(uint64_t pfn, uint64_t nr, Owner owner);
uint64_t FramesOwned(int nid, Owner owner);

// Checks that free lists, struct pages and owner bytes agree, and reports
// "one-owner" where not. Every frame is looked at when there are few (the
// small geometry); otherwise every free block and every count.
bool VerifyOneOwner();

// Frames on free lists of the node, those in isolated pageblocks included.
uint64_t FreePagesOfNode(int nid);
// Of those, the ones in CMA pageblocks, that is, in scratch.
uint64_t FreeCmaPagesOfNode(int nid);
int LargestFreeOrder(int nid);  // -1: nothing is free

}  // namespace sim

#endif  // SIM_MM_OWNERS_H_
