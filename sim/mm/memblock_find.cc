// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/memblock.h"
#include "sim/mm/memmap.h"
#include "sim/mm/owners.h"

// The searching and allocating half of mm/memblock.c, and the hand-over to the
// buddy allocator. Only memblock_alloc_hugetlb() can be made to fail by plan:
// a kernel that does not get other boot memory panics.

namespace sim {
namespace {

// Calls fn(start, end) for each free range in [lo, hi) of memory regions that
// fit, in ascending or descending order, until it returns true.
template <typename Fn>
bool ForEachFree(bool descending, phys_addr_t lo, phys_addr_t hi, int nid,
                 unsigned flags, Fn fn) {
  const auto& mem = TheMemblock().memory.regions;
  const auto& rsv = TheMemblock().reserved.regions;
  const bool any_node = nid < 0 || nid >= MAX_NUMNODES;
  for (size_t k = 0; k < mem.size(); ++k) {
    const MemblockRegion& m = mem[descending ? mem.size() - 1 - k : k];
    if (!any_node && m.nid != nid) continue;
    if ((flags & MEMBLOCK_KHO_SCRATCH) != 0 &&
        (m.flags & MEMBLOCK_KHO_SCRATCH) == 0) {
      continue;
    }
    const phys_addr_t start = std::max(m.base, lo);
    const phys_addr_t end = std::min(m.end(), hi);
    if (start >= end) continue;
    // First reserved region that reaches into [start, end).
    size_t i = static_cast<size_t>(
        std::partition_point(
            rsv.begin(), rsv.end(),
            [start](const MemblockRegion& r) { return r.end() <= start; }) -
        rsv.begin());
    if (!descending) {
      phys_addr_t at = start;
      for (; at < end; ++i) {
        const phys_addr_t gap_end =
            i < rsv.size() ? std::min(rsv[i].base, end) : end;
        if (gap_end > at && fn(at, gap_end)) return true;
        if (i == rsv.size()) break;
        at = std::max(at, rsv[i].end());
      }
    } else {
      size_t last = static_cast<size_t>(
          std::partition_point(
              rsv.begin(), rsv.end(),
              [end](const MemblockRegion& r) { return r.base < end; }) -
          rsv.begin());
      phys_addr_t at = end;
      for (;;) {
        const phys_addr_t gap_start =
            last > i ? std::max(rsv[last - 1].end(), start) : start;
        if (gap_start < at && fn(gap_start, at)) return true;
        if (last == i) break;
        --last;
        at = std::min(at, rsv[last].base);
        if (at <= start) break;
      }
    }
  }
  return false;
}

unsigned ChooseFlags() {
  return TheMemblock().scratch_only ? MEMBLOCK_KHO_SCRATCH : MEMBLOCK_NONE;
}

bool ValidNode(int nid) { return nid >= 0 && nid < MAX_NUMNODES; }

// memmap_init_reserved_pages(): struct pages of reserved regions are
// initialised and say PG_reserved, other than those of no-init regions. Left
// out: telling the regions their node.
void InitReservedPages() {
  Memblock& mb = TheMemblock();
  for (const MemblockRegion& r : mb.reserved.regions) {
    const uint64_t first = r.base >> PAGE_SHIFT;
    const uint64_t last = std::min<uint64_t>(PFN_UP(r.end()), Map().end_pfn);
    if (first >= last) continue;
    SetOwner(first, last - first, Owner::kReserved);
    if ((r.flags & MEMBLOCK_RSRV_NOINIT) != 0) continue;
    InitStructPages(first, last - first);
    for (uint64_t pfn = first; pfn < last; ++pfn) {
      struct page* page = pfn_to_page(pfn);
      page->flags |= 1UL << PG_reserved;
      page->_refcount.counter = 1;
    }
  }
}

}  // namespace

// Follows deferred_init_memmap(): struct pages of all that is not reserved.
// Those of no-init regions are left to who asked for that. Other than in the
// kernel, this memory is with the buddy allocator already: what the kernel does
// when that has too little (deferred_grow_zone()), PrepNewPage() does for each
// page.
void DeferredInit() {
  ForEachFree(false, 0, ~phys_addr_t{0}, NUMA_NO_NODE, MEMBLOCK_NONE,
              [](phys_addr_t lo, phys_addr_t hi) {
                const uint64_t pfn = PFN_UP(lo);
                const uint64_t end = PFN_DOWN(hi);
                if (pfn < end) InitStructPages(pfn, end - pfn);
                return false;
              });
}

// memblock_find_in_range_node(): from the top, or from the bottom if told so;
// never the first page.
phys_addr_t MemblockFind(phys_addr_t size, phys_addr_t align, phys_addr_t start,
                         phys_addr_t end, int nid, unsigned flags) {
  if (end == MEMBLOCK_ALLOC_ACCESSIBLE) end = MEMBLOCK_ALLOC_ANYWHERE;
  start = std::max<phys_addr_t>(start, PAGE_SIZE);
  end = std::max(start, end);
  phys_addr_t found = 0;
  if (TheMemblock().bottom_up) {
    ForEachFree(false, start, end, nid, flags,
                [&](phys_addr_t lo, phys_addr_t hi) {
                  const phys_addr_t at = (lo + align - 1) / align * align;
                  if (at >= hi || hi - at < size) return false;
                  found = at;
                  return true;
                });
  } else {
    ForEachFree(true, start, end, nid, flags,
                [&](phys_addr_t lo, phys_addr_t hi) {
                  if (hi < size) return false;
                  const phys_addr_t at = (hi - size) / align * align;
                  if (at < lo) return false;
                  found = at;
                  return true;
                });
  }
  return found;
}

void MemblockForEachFree(
    int nid, unsigned flags,
    const std::function<void(phys_addr_t start, phys_addr_t end)>& fn) {
  ForEachFree(false, 0, ~phys_addr_t{0}, nid, flags,
              [&fn](phys_addr_t lo, phys_addr_t hi) {
                fn(lo, hi);
                return false;
              });
}

}  // namespace sim

extern "C" {

phys_addr_t memblock_alloc_range_nid(phys_addr_t size, phys_addr_t align,
                                     phys_addr_t start, phys_addr_t end,
                                     int nid, bool exact_nid) {
  if (WARN_ON(slab_is_available())) return 0;
  if (align == 0) align = 64;
  const unsigned flags = sim::ChooseFlags();
  phys_addr_t found = sim::MemblockFind(size, align, start, end, nid, flags);
  if (found == 0 && sim::ValidNode(nid) && !exact_nid) {
    nid = NUMA_NO_NODE;
    found = sim::MemblockFind(size, align, start, end, nid, flags);
  }
  if (found != 0) {
    sim::MemblockReserve(found, size, nid, MEMBLOCK_RSRV_KERN);
  }
  return found;
}

phys_addr_t memblock_phys_alloc_range(phys_addr_t size, phys_addr_t align,
                                      phys_addr_t start, phys_addr_t end) {
  return memblock_alloc_range_nid(size, align, start, end, NUMA_NO_NODE, false);
}

phys_addr_t memblock_phys_alloc(phys_addr_t size, phys_addr_t align) {
  return memblock_phys_alloc_range(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE);
}

void* memblock_alloc(phys_addr_t size, phys_addr_t align) {
  const phys_addr_t phys = memblock_phys_alloc(size, align);
  if (phys == 0) return nullptr;
  void* mem = phys_to_virt(phys);
  sim::M().memory().MarkDirty(phys >> PAGE_SHIFT,
                              PFN_UP(phys + size) - (phys >> PAGE_SHIFT));
  memset(mem, 0, size);
  return mem;
}

// Keeps off the real scratch regions, since nothing preserved may lie there.
// Does not zero.
void* memblock_alloc_hugetlb(phys_addr_t size, int nid, bool exact_nid) {
  sim::Step("memblock_alloc_hugetlb");
  if (sim::M().Fails(sim::FailKind::kAlloc, "memblock_alloc_hugetlb")) {
    return nullptr;
  }
  const unsigned flags = sim::ChooseFlags();
  phys_addr_t start = 0, end = MEMBLOCK_ALLOC_ACCESSIBLE;
  for (;;) {
    const phys_addr_t phys =
        sim::MemblockFind(size, size, start, end, nid, flags);
    if (phys == 0) {
      if (!sim::ValidNode(nid) || exact_nid) return nullptr;
      nid = NUMA_NO_NODE;
      start = 0;
      end = MEMBLOCK_ALLOC_ACCESSIBLE;
      continue;
    }
    if (kho_scratch_overlap(phys, size)) {
      if (memblock_bottom_up()) {
        start = phys + size;
      } else {
        end = phys;
      }
      continue;
    }
    sim::MemblockReserve(phys, size, nid,
                         MEMBLOCK_RSRV_KERN | MEMBLOCK_RSRV_HUGETLB);
    return phys_to_virt(phys);
  }
}

// Gives all memory that is not reserved to the buddy allocator.
void memblock_free_all(void) {
  memblock_clear_kho_scratch_only();
  sim::InitReservedPages();
  uint64_t count = 0;
  sim::ForEachFree(false, 0, ~phys_addr_t{0}, NUMA_NO_NODE, MEMBLOCK_NONE,
                   [&count](phys_addr_t lo, phys_addr_t hi) {
                     uint64_t pfn = PFN_UP(lo);
                     const uint64_t end = PFN_DOWN(hi);
                     if (pfn < end) count += end - pfn;
                     while (pfn < end) {
                       unsigned order = MAX_PAGE_ORDER;
                       if (pfn != 0) {
                         order = std::min<unsigned>(
                             order, static_cast<unsigned>(__builtin_ctzl(pfn)));
                       }
                       while (pfn + (uint64_t{1} << order) > end) --order;
                       sim::FreeBootPages(pfn, order);
                       pfn += uint64_t{1} << order;
                     }
                     return false;
                   });
  sim::AddTotalRam(static_cast<long>(count));
}

}  // extern "C"
