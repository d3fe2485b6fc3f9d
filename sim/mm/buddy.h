// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_BUDDY_H_
#define SIM_MM_BUDDY_H_

// The buddy allocator's inside, for the parts of sim/mm that take pages
// without being a fallible call of their own, and for tests.
//
// Follows mm/page_alloc.c. Left out: per-cpu lists (a freed page goes straight
// to its free list), watermarks, reclaim, compaction and the OOM killer (an
// allocation that finds nothing fails), the zone lock (nothing here gives way
// to another actor halfway), reclaimable pages, HIGHATOMIC, cpusets.

#include <sim/kernel_api.h>

#include <cstdint>

namespace sim {

inline constexpr unsigned kMaxOrders = 16;

struct FreeArea {
  struct list_head list[MIGRATE_TYPES];
  uint64_t nr_free = 0;  // blocks, over all lists
};

// One zone per node, ZONE_NORMAL.
struct Zone {
  int nid = 0;
  uint64_t start_pfn = 0;  // spanned, holes included
  uint64_t end_pfn = 0;
  FreeArea area[kMaxOrders];
  uint64_t free_pages = 0;  // without isolated ones
  uint64_t free_cma_pages = 0;
  uint64_t free_isolated_pages = 0;
  uint64_t managed_pages = 0;
  uint64_t zonelist_length = 0;
  int zonelist[MAX_NUMNODES] = {};  // fallback order, itself first
};

Zone& ZoneOf(int nid);
void BuildZones();  // start, end and zonelists from memblock and node states

// Free block heads.
inline bool PageBuddy(const struct page* page) {
  return (page->flags >> PG_buddy) & 1;
}
inline unsigned BuddyOrder(const struct page* page) {
  return static_cast<unsigned>(page->private_);
}

// Takes 2^order pages, frozen, without being a step or a fallible call.
// nid -1: the running CPU's node.
struct page* TakePages(gfp_t gfp, unsigned order, int nid,
                       const nodemask_t* nodes);
// Gives them back: checks included, without being a step.
void GivePages(struct page* page, unsigned order);
// Takes a base page out of the free block that it is in, for good; false: it is
// in none.
bool TakePageOffBuddy(struct page* page);
// The node of the CPUs: all of them belong to the first node with memory.
int LocalNode();

// --- hand-over from memblock
void FreeBootPages(uint64_t pfn, unsigned order);
void AddTotalRam(long pages);

// --- free lists, for isolation
void FreeOnePage(Zone* zone, uint64_t pfn, unsigned order, int type,
                 bool to_tail);
void SplitLargeBuddy(Zone* zone, uint64_t pfn, unsigned order, bool to_tail);
void DelFromFreeList(Zone* zone, struct page* page, unsigned order, int type);
void MoveFreePagesBlock(Zone* zone, uint64_t block_pfn, int from, int to);
void AddToFreeList(Zone* zone, struct page* page, unsigned order, int type,
                   bool tail);
void AccountFree(Zone* zone, long pages, int type);
struct page* TakeSmallest(Zone* zone, unsigned order, int type);
unsigned Expand(Zone* zone, struct page* page, unsigned low, unsigned high,
                int type);
// buddy_fallback.cc: __rmqueue() with its ways of falling back.
struct page* TakeFromZone(Zone* zone, unsigned order, int type);
// What the allocator does to pages it gives out.
void PrepNewPage(struct page* page, unsigned order, gfp_t gfp);

// A page that migration could move: user memory in a page cache.
bool PageMovable(const struct page* page);

}  // namespace sim

#endif  // SIM_MM_BUDDY_H_
