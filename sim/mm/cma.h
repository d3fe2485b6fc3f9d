// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_CMA_H_
#define SIM_MM_CMA_H_

// CMA areas of several ranges, as those of hugetlb_cma= are: mm/cma.c. Left
// out: fixed places, areas without compound pages, debugfs, sysfs.

#include <sim/kernel_api.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace sim {

// In base pages.
struct CmaRange {
  uint64_t base_pfn = 0;
  uint64_t count = 0;
  uint64_t early_pfn = 0;  // first one not taken by CmaReserveEarly()
  // One bit for each 1 << order_per_bit pages; the kernel's memory.
  unsigned long* bitmap = nullptr;
};

struct CmaArea {
  std::string name;
  uint64_t count = 0;
  uint64_t available_count = 0;
  unsigned order_per_bit = 0;
  int nid = NUMA_NO_NODE;
  uint64_t passed_over = 0;  // by CmaReserveEarly()
  bool activated = false;
  spinlock_t lock;
  struct mutex alloc_mutex;
  std::vector<CmaRange> ranges;
};

void CmaReset();
const std::deque<CmaArea>& CmaAreas();
// Whether an area has any of these pages.
bool CmaIntersects(uint64_t pfn, uint64_t nr);

// cma_declare_contiguous_multi(): while memblock is in charge.
int CmaDeclareContiguousMulti(phys_addr_t total_size, phys_addr_t align,
                              unsigned order_per_bit, const std::string& name,
                              CmaArea** res, int nid);
// cma_reserve_early(): before the area is activated; nullptr: no room.
void* CmaReserveEarly(CmaArea* area, uint64_t size);
// cma_init_reserved_areas(): from here on pages can be had, and their place is
// there for movable ones.
void CmaInitReservedAreas();
// cma_alloc_frozen_compound() and cma_release_frozen().
struct page* CmaAllocFrozenCompound(CmaArea* area, unsigned order);
bool CmaReleaseFrozen(CmaArea* area, const struct page* page, uint64_t count);

// Whether the node's area has given all of these away, and how many it has.
bool CmaTaken(int nid, uint64_t pfn, uint64_t nr);
uint64_t CmaTakenPages(const CmaArea& area);
// How often CmaAllocFrozenCompound() would find this many pages free as they
// are. If there is no room for what is in its way, it does not look further.
int64_t CmaFreeRanges(const CmaArea& area, unsigned order);

}  // namespace sim

#endif  // SIM_MM_CMA_H_
