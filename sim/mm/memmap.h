// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_MEMMAP_H_
#define SIM_MM_MEMMAP_H_

// The memory map (struct page of each frame), pageblock types and owner
// bytes. They are host memory and are made anew at each boot.
//
// A boot must not cost a write for each frame of a large machine. So each
// entry has a resting state, that of a page in the middle of a free block
// (all zero but the node's bits), and whoever takes entries out of it calls
// TouchPages(): only touched entries are reset by the next boot. A pool of
// memory maps, one per geometry seen, spares filling in the node's bits.
// Other than in the kernel, pages of no-init reservations rest with a
// reference count of zero instead of one, and tail pages of a folio after its
// 64th struct page are never written (as with HugeTLB's vmemmap
// optimisation).
//
// Struct pages are there for whoever reads them only once somebody initialised
// them, as with CONFIG_DEFERRED_STRUCT_PAGE_INIT in the kernel. It does so,
// in this order,
//   memmap_init()        for the first section of each node, and all lower
//                        zones: none of these here, as no code may count on
//                        memory to lie there;
//   kho_memory_init()    for all that KHO holds, tail pages as well;
//   memblock_free_all()  for what else is reserved, except no-init regions;
//   the buddy allocator  for what it gives out before the next;
//   page_alloc_init_late()
//                        for what is free, then for tail pages of gigantic
//                        pages that HugeTLB took from memblock.
// An access before that is reported ("discipline") by the functions of
// linux/mm.h, page-flags.h and page_ref.h; one to a struct's field is not seen.
// Afterwards all struct pages of memory are initialised. Those of KHO's tail
// pages are single pages until kho_restore_folio(): page_folio() gives the page
// itself, as it does in the kernel.
//
// A hole has none, as a section that is not present: an access is an oops, or
// finds PAGE_POISON_PATTERN, where others share the host page. Left out: holes
// within a section, whose struct pages the kernel makes reserved ones.

#include <sim/kernel_api.h>

#include <cstdint>
#include <vector>

#include "sim/machine/geometry.h"

namespace sim {

// Struct pages of a compound page that are written.
inline constexpr uint64_t kWrittenTails = 64;

struct MemMap {
  std::vector<NodeSpan> spans;  // what this map was made for
  uint64_t end_pfn = 0;
  size_t mapped_bytes = 0;
  struct page* pages = nullptr;
  std::vector<int8_t> nid;              // -1: hole
  std::vector<uint8_t> owner;           // enum Owner
  std::vector<uint64_t> touched;        // a bit per struct page
  std::vector<uint64_t> touched_owner;  // a bit per 64 owner bytes
  std::vector<uint64_t> exists;         // a bit per struct page that is there
  std::vector<uint64_t> uninit;         // of these, nobody initialised it yet
  std::vector<uint8_t> pageblock_type;  // enum migratetype
  std::vector<uint8_t> pageblock_isolated;
  std::vector<uint64_t> poisoned;  // of holes, beside others
  uint64_t frames[MAX_NUMNODES] = {};
  uint64_t owned[MAX_NUMNODES][8] = {};  // by enum Owner
};

extern MemMap* current_map;  // of the running kernel
inline MemMap& Map() { return *current_map; }

inline void SetBits(uint64_t* bits, uint64_t first, uint64_t nr) {
  for (const uint64_t end = first + nr; first < end;) {
    const uint64_t n =
        first % 64 + (end - first) < 64 ? end - first : 64 - first % 64;
    bits[first / 64] |= (~uint64_t{0} >> (64 - n)) << first % 64;
    first += n;
  }
}

// Struct pages of these frames are written from now on.
inline void TouchPages(uint64_t pfn, uint64_t nr) {
  SetBits(Map().touched.data(), pfn, nr);
}
inline void TouchPage(uint64_t pfn) {
  Map().touched[pfn / 64] |= uint64_t{1} << pfn % 64;
}

// Struct pages of these frames, but for holes, are initialised.
void MarkInitialised(uint64_t pfn, uint64_t nr);
inline void InitStructPages(uint64_t pfn, uint64_t nr) {
  if (sim_uninit_pages != 0) MarkInitialised(pfn, nr);
}
// Reports the first of these that is not.
void ReportUninit(uint64_t pfn, uint64_t nr);
inline void CheckInitialised(uint64_t pfn, uint64_t nr) {
  if (sim_uninit_pages != 0) ReportUninit(pfn, nr);
}

// Head of the compound page that the frame lies in, or its own struct page.
struct page* CompoundHead(uint64_t pfn);

// --- pageblocks
inline int PageblockType(uint64_t pfn) {
  const MemMap& map = Map();
  const uint64_t block = pfn >> sim_pageblock_order;
  return map.pageblock_isolated[block] ? int{MIGRATE_ISOLATE}
                                       : map.pageblock_type[block];
}
inline bool PageblockIsolated(uint64_t pfn) {
  return Map().pageblock_isolated[pfn >> sim_pageblock_order];
}
inline void SetPageblockType(uint64_t pfn, int type) {
  Map().pageblock_type[pfn >> sim_pageblock_order] = static_cast<uint8_t>(type);
}
inline void SetPageblockIsolated(uint64_t pfn, bool isolated) {
  Map().pageblock_isolated[pfn >> sim_pageblock_order] = isolated;
}

// What each part forgets when a kernel starts; called by MmReset().
void MemblockReset();
void BuddyReset();
void SlabReset();
void VmallocReset();
void FolioReset();
void PinReset();

}  // namespace sim

#endif  // SIM_MM_MEMMAP_H_
