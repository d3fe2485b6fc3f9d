// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/memblock.h"

#include <algorithm>

#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/mm/memmap.h"
#include "sim/mm/owners.h"

// Follows mm/memblock.c. Left out: mirrored, hotpluggable, no-map and
// driver-managed memory, the current limit, and where the region arrays
// themselves lie (host memory, so that doubling them cannot fail).

namespace sim {
namespace {

Memblock memblock;

phys_addr_t CapSize(phys_addr_t base, phys_addr_t size) {
  return std::min(size, ~phys_addr_t{0} - base);
}

// Index of the first region that ends above addr.
size_t FirstEndingAbove(const MemblockType& type, phys_addr_t addr) {
  const auto& r = type.regions;
  return static_cast<size_t>(
      std::partition_point(
          r.begin(), r.end(),
          [addr](const MemblockRegion& x) { return x.end() <= addr; }) -
      r.begin());
}

// memblock_merge_regions()
void MergeRegions(MemblockType* type, size_t first, size_t last) {
  auto& r = type->regions;
  if (r.empty()) return;
  size_t i = first > 0 ? first - 1 : 0;
  last = std::min(last, r.size() - 1);
  size_t to = i;
  for (size_t from = i + 1; from <= last; ++from) {
    if (r[to].end() == r[from].base && r[to].nid == r[from].nid &&
        r[to].flags == r[from].flags) {
      r[to].size += r[from].size;
    } else {
      BUG_ON(r[to].end() > r[from].base);
      r[++to] = r[from];
    }
  }
  if (to < last) {
    r.erase(r.begin() + static_cast<long>(to) + 1,
            r.begin() + static_cast<long>(last) + 1);
  }
}

// memblock_isolate_range(): afterwards region boundaries lie at base and at
// base + size; [*first, *last) are the regions within.
void IsolateRange(MemblockType* type, phys_addr_t base, phys_addr_t size,
                  size_t* first, size_t* last) {
  auto& r = type->regions;
  const phys_addr_t end = base + CapSize(base, size);
  *first = *last = 0;
  if (base == end) return;
  size_t i = FirstEndingAbove(*type, base);
  if (i < r.size() && r[i].base < base) {
    MemblockRegion low = r[i];
    low.size = base - low.base;
    r[i].size -= low.size;
    r[i].base = base;
    r.insert(r.begin() + static_cast<long>(i), low);
    ++i;
  }
  *first = i;
  while (i < r.size() && r[i].base < end) {
    if (r[i].end() > end) {
      MemblockRegion low = r[i];
      low.size = end - low.base;
      r[i].size -= low.size;
      r[i].base = end;
      r.insert(r.begin() + static_cast<long>(i), low);
    }
    ++i;
  }
  *last = i;
}

void SetClearFlag(MemblockType* type, phys_addr_t base, phys_addr_t size,
                  bool set, unsigned flag) {
  size_t first, last;
  IsolateRange(type, base, size, &first, &last);
  for (size_t i = first; i < last; ++i) {
    if (set) {
      type->regions[i].flags |= flag;
    } else {
      type->regions[i].flags &= ~flag;
    }
  }
  MergeRegions(type, first, last);
}

phys_addr_t ReservedWithFlag(phys_addr_t limit, int nid, unsigned flag) {
  phys_addr_t total = 0;
  for (const MemblockRegion& r : memblock.reserved.regions) {
    if (r.base > limit) break;
    const phys_addr_t size = r.end() > limit ? limit - r.base : r.size;
    const bool any = nid < 0 || nid >= MAX_NUMNODES;
    if ((any || nid == r.nid) && (r.flags & flag) != 0) total += size;
  }
  return total;
}

}  // namespace

Memblock& TheMemblock() { return memblock; }

void MemblockReset() {
  memblock.bottom_up = false;
  memblock.scratch_only = false;
  memblock.memory.regions.clear();
  memblock.reserved.regions.clear();
}

// memblock_add_range(): what is there already keeps its node and flags.
int MemblockAddRange(MemblockType* type, phys_addr_t base, phys_addr_t size,
                     int nid, unsigned flags) {
  auto& r = type->regions;
  const phys_addr_t end = base + CapSize(base, size);
  if (base == end) return 0;
  size_t i = FirstEndingAbove(*type, base);
  const size_t first = i;
  while (base < end) {
    const phys_addr_t gap_end =
        i < r.size() && r[i].base < end ? r[i].base : end;
    if (gap_end > base) {
      if (gap_end != end) {
        WARN_ON(nid != r[i].nid);
        WARN_ON(flags != MEMBLOCK_NONE && flags != r[i].flags);
      }
      r.insert(r.begin() + static_cast<long>(i),
               MemblockRegion{base, gap_end - base, nid, flags});
      ++i;
    }
    if (gap_end == end) break;
    base = r[i].end();
    ++i;
  }
  MergeRegions(type, first, i + 1);
  return 0;
}

int MemblockRemoveRange(MemblockType* type, phys_addr_t base,
                        phys_addr_t size) {
  size_t first, last;
  IsolateRange(type, base, size, &first, &last);
  type->regions.erase(type->regions.begin() + static_cast<long>(first),
                      type->regions.begin() + static_cast<long>(last));
  return 0;
}

// __memblock_reserve()
int MemblockReserve(phys_addr_t base, phys_addr_t size, int nid,
                    unsigned flags) {
  const uint64_t first = base >> PAGE_SHIFT;
  const uint64_t last =
      std::min<uint64_t>(PFN_UP(base + CapSize(base, size)), Map().end_pfn);
  // Whoever reserved them may write their struct pages from now on.
  if (first < last) TouchPages(first, last - first);
  return MemblockAddRange(&memblock.reserved, base, size, nid, flags);
}

int MemblockSearch(const MemblockType& type, phys_addr_t addr) {
  const size_t i = FirstEndingAbove(type, addr);
  if (i == type.regions.size() || type.regions[i].base > addr) return -1;
  return static_cast<int>(i);
}

}  // namespace sim

using sim::IsolateRange;
using sim::memblock;

extern "C" {

int memblock_add(phys_addr_t base, phys_addr_t size) {
  return sim::MemblockAddRange(&memblock.memory, base, size, MAX_NUMNODES,
                               MEMBLOCK_NONE);
}

int memblock_add_node(phys_addr_t base, phys_addr_t size, int nid,
                      enum memblock_flags flags) {
  return sim::MemblockAddRange(&memblock.memory, base, size, nid, flags);
}

int memblock_reserve(phys_addr_t base, phys_addr_t size) {
  return sim::MemblockReserve(base, size, NUMA_NO_NODE, MEMBLOCK_NONE);
}

// memblock_set_node() of the memory regions.
int memblock_set_node(phys_addr_t base, phys_addr_t size, int nid) {
  size_t first, last;
  IsolateRange(&memblock.memory, base, size, &first, &last);
  for (size_t i = first; i < last; ++i) memblock.memory.regions[i].nid = nid;
  sim::MergeRegions(&memblock.memory, first, last);
  return 0;
}

int memblock_phys_free(phys_addr_t base, phys_addr_t size) {
  // Once the buddy allocator has taken over, memblock itself is gone.
  if (slab_is_available()) {
    free_reserved_area(__va(base), static_cast<char*>(__va(base)) + size, -1,
                       nullptr);
    return 0;
  }
  return sim::MemblockRemoveRange(&memblock.reserved, base, size);
}

void memblock_free(void* ptr, size_t size) {
  if (ptr != nullptr) memblock_phys_free(__pa(ptr), size);
}

int memblock_mark_kho_scratch(phys_addr_t base, phys_addr_t size) {
  sim::SetClearFlag(&memblock.memory, base, size, true, MEMBLOCK_KHO_SCRATCH);
  return 0;
}

int memblock_clear_kho_scratch(phys_addr_t base, phys_addr_t size) {
  sim::SetClearFlag(&memblock.memory, base, size, false, MEMBLOCK_KHO_SCRATCH);
  return 0;
}

int memblock_reserved_mark_noinit(phys_addr_t base, phys_addr_t size) {
  sim::SetClearFlag(&memblock.reserved, base, size, true, MEMBLOCK_RSRV_NOINIT);
  return 0;
}

void memblock_set_kho_scratch_only(void) { memblock.scratch_only = true; }
void memblock_clear_kho_scratch_only(void) { memblock.scratch_only = false; }
void memblock_set_bottom_up(bool enable) { memblock.bottom_up = enable; }
bool memblock_bottom_up(void) { return memblock.bottom_up; }

phys_addr_t memblock_reserved_kern_size(phys_addr_t limit, int nid) {
  return sim::ReservedWithFlag(limit, nid, MEMBLOCK_RSRV_KERN);
}

phys_addr_t memblock_reserved_hugetlb_size(phys_addr_t limit, int nid) {
  return sim::ReservedWithFlag(limit, nid, MEMBLOCK_RSRV_HUGETLB);
}

bool memblock_is_reserved(phys_addr_t addr) {
  return sim::MemblockSearch(memblock.reserved, addr) != -1;
}

bool memblock_is_memory(phys_addr_t addr) {
  return sim::MemblockSearch(memblock.memory, addr) != -1;
}

// True only if one region holds all of it.
bool memblock_is_region_memory(phys_addr_t base, phys_addr_t size) {
  const int i = sim::MemblockSearch(memblock.memory, base);
  return i != -1 && memblock.memory.regions[static_cast<size_t>(i)].end() >=
                        base + sim::CapSize(base, size);
}

bool memblock_is_region_reserved(phys_addr_t base, phys_addr_t size) {
  const auto& r = memblock.reserved.regions;
  const size_t i = sim::FirstEndingAbove(memblock.reserved, base);
  return i < r.size() && r[i].base < base + sim::CapSize(base, size);
}

phys_addr_t memblock_end_of_DRAM(void) {
  const auto& r = memblock.memory.regions;
  return r.empty() ? 0 : r.back().end();
}

int memblock_search_pfn_nid(unsigned long pfn, unsigned long* start_pfn,
                            unsigned long* end_pfn) {
  const int i = sim::MemblockSearch(memblock.memory, PFN_PHYS(pfn));
  if (i == -1) return NUMA_NO_NODE;
  const auto& r = memblock.memory.regions[static_cast<size_t>(i)];
  *start_pfn = PFN_DOWN(r.base);
  *end_pfn = PFN_DOWN(r.end());
  return r.nid;
}

void __next_mem_pfn_range(int* idx, int nid, unsigned long* out_start_pfn,
                          unsigned long* out_end_pfn, int* out_nid) {
  const auto& regions = memblock.memory.regions;
  while (static_cast<size_t>(++*idx) < regions.size()) {
    const auto& r = regions[static_cast<size_t>(*idx)];
    const unsigned long start = PFN_UP(r.base), end = PFN_DOWN(r.end());
    if (start >= end || (nid != MAX_NUMNODES && nid != r.nid)) continue;
    if (out_start_pfn) *out_start_pfn = start;
    if (out_end_pfn) *out_end_pfn = end;
    if (out_nid) *out_nid = r.nid;
    return;
  }
  *idx = -1;
}

phys_addr_t memblock_phys_mem_size(void) {
  phys_addr_t size = 0;
  for (const sim::MemblockRegion& r : memblock.memory.regions) size += r.size;
  return size;
}

// mm/mm_init.c:early_pfn_to_nid(): the first online node for what is not
// memory.
int early_pfn_to_nid(unsigned long pfn) {
  const int i = sim::MemblockSearch(memblock.memory, PFN_PHYS(pfn));
  const int nid = i == -1 ? NUMA_NO_NODE
                          : memblock.memory.regions[static_cast<size_t>(i)].nid;
  return nid < 0 || nid >= MAX_NUMNODES ? first_online_node : nid;
}

}  // extern "C"
