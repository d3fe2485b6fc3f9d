// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/cma.h"

#include <algorithm>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/contig.h"
#include "sim/mm/memblock.h"
#include "sim/mm/memmap.h"
#include "sim/mm/owners.h"

namespace sim {
namespace {

constexpr size_t kMaxRanges = 8;  // CMA_MAX_RANGES
constexpr unsigned kBits = 64;

// Not a vector: locks stay where they are.
std::deque<CmaArea> areas;

uint64_t MinAlignment() { return PAGE_SIZE * pageblock_nr_pages; }

uint64_t BitmapBits(const CmaArea& area, const CmaRange& range) {
  return range.count >> area.order_per_bit;
}

bool TestBit(const unsigned long* bitmap, uint64_t bit) {
  return (bitmap[bit / kBits] >> bit % kBits) & 1;
}

void FillBits(unsigned long* bitmap, uint64_t first, uint64_t nr, bool set) {
  for (uint64_t bit = first; bit < first + nr; ++bit) {
    const unsigned long mask = 1UL << bit % kBits;
    bitmap[bit / kBits] =
        set ? bitmap[bit / kBits] | mask : bitmap[bit / kBits] & ~mask;
  }
}

// bitmap_find_next_zero_area_off(); `bits` if there is none.
uint64_t FindArea(const CmaArea& area, const CmaRange& range, uint64_t start,
                  uint64_t nr, uint64_t mask, uint64_t offset) {
  const uint64_t bits = BitmapBits(area, range);
  for (;;) {
    while (start < bits && TestBit(range.bitmap, start)) ++start;
    const uint64_t at = ((start + offset + mask) & ~mask) - offset;
    if (at + nr > bits) return bits;
    uint64_t end = at;
    while (end < at + nr && !TestBit(range.bitmap, end)) ++end;
    if (end == at + nr) return at;
    start = end + 1;
  }
}

void ClearBitmap(CmaArea* area, const CmaRange& range, uint64_t pfn,
                 uint64_t count) {
  spin_lock_irq(&area->lock);
  FillBits(range.bitmap, (pfn - range.base_pfn) >> area->order_per_bit,
           count >> area->order_per_bit, false);
  area->available_count += count;
  spin_unlock_irq(&area->lock);
}

// cma_alloc_mem(): from the bottom, but far from the memory that devices may
// need, if there is room; else from the top.
phys_addr_t AllocMem(phys_addr_t size, phys_addr_t align, phys_addr_t limit,
                     int nid) {
  const phys_addr_t floor = M().geometry().cma_floor;
  phys_addr_t addr = 0;
  if (!memblock_bottom_up() && limit >= floor + size) {
    memblock_set_bottom_up(true);
    addr = memblock_alloc_range_nid(size, align, floor, limit, nid, true);
    memblock_set_bottom_up(false);
  }
  if (addr == 0)
    addr = memblock_alloc_range_nid(size, align, 0, limit, nid, true);
  return addr;
}

// __cma_declare_contiguous_nid(): one range.
int DeclareOne(phys_addr_t size, phys_addr_t align, CmaArea* area, int nid) {
  align = std::max<phys_addr_t>(align, MinAlignment());
  size = (size + align - 1) & ~(align - 1);
  const phys_addr_t limit = memblock_end_of_DRAM();
  if (size > limit) return -EINVAL;
  const phys_addr_t base = AllocMem(size, align, limit, nid);
  if (base == 0) return -ENOMEM;
  area->ranges.push_back(
      {PFN_DOWN(base), size >> PAGE_SHIFT, PFN_DOWN(base), nullptr});
  return 0;
}

struct FreeRange {
  phys_addr_t base, size;
};

bool Larger(const FreeRange& a, const FreeRange& b) { return a.size > b.size; }
bool Lower(const FreeRange& a, const FreeRange& b) { return a.base < b.base; }

// list_insert_sorted(), whatever order that makes: before the first for which
// `is` holds; if it holds for none, before the last.
void InsertSorted(std::vector<FreeRange>* list, const FreeRange& range,
                  bool (*is)(const FreeRange&, const FreeRange&)) {
  auto at =
      std::find_if(list->begin(), list->end(),
                   [&](const FreeRange& other) { return is(other, range); });
  if (at == list->end() && !list->empty()) --at;
  list->insert(at, range);
}

// The second half of cma_declare_contiguous_multi(): free ranges that together
// are large enough. Left out: more of them than an area may have.
int DeclareMany(phys_addr_t total_size, phys_addr_t align, CmaArea* area,
                int nid) {
  unsigned flags = MEMBLOCK_NONE;
  // HOOK(mm/cma.c, cma_declare_contiguous_multi): MEMBLOCK_KHO_SCRATCH
  if (is_kho_boot()) flags = MEMBLOCK_KHO_SCRATCH;
  align = std::max<phys_addr_t>(align, MinAlignment());

  std::vector<FreeRange> found;
  phys_addr_t sum = 0;
  MemblockForEachFree(nid, flags, [&](phys_addr_t start, phys_addr_t end) {
    if (start < M().geometry().cma_floor) return;
    start = (start + align - 1) & ~(align - 1);
    end &= ~(align - 1);
    if (start >= end) return;
    sum += end - start;
    InsertSorted(&found, {start, end - start}, Larger);
  });
  BUG_ON(found.size() > kMaxRanges);
  if (sum < total_size) return -ENOMEM;

  std::vector<FreeRange> chosen;
  sum = 0;
  for (const FreeRange& range : found) {
    InsertSorted(&chosen, range, Lower);
    sum += range.size;
    if (sum >= total_size) break;
  }
  phys_addr_t left = total_size;
  for (const FreeRange& range : chosen) {
    const phys_addr_t size = std::min(left, range.size);
    memblock_reserve(range.base, size);
    area->ranges.push_back({PFN_DOWN(range.base), size >> PAGE_SHIFT,
                            PFN_DOWN(range.base), nullptr});
    left -= size;
    if (left == 0) break;
  }
  return 0;
}

// cma_range_alloc(): a place that the bitmap says is free, emptied of what
// others have put there meanwhile.
int AllocInRange(CmaArea* area, const CmaRange& range, unsigned order,
                 struct page** page) {
  // The kernel's __GFP_COMP alone; these are for users.
  constexpr gfp_t kGfp = GFP_USER | __GFP_COMP | __GFP_NOWARN;
  const uint64_t count = uint64_t{1} << order;
  const uint64_t nr = count >> area->order_per_bit;
  const uint64_t mask = nr - 1;
  const uint64_t offset = (range.base_pfn & (count - 1)) >> area->order_per_bit;
  const uint64_t bits = BitmapBits(*area, range);
  int ret = -EBUSY;
  for (uint64_t start = 0; nr <= bits;) {
    spin_lock_irq(&area->lock);
    const uint64_t bit = count > area->available_count
                             ? bits
                             : FindArea(*area, range, start, nr, mask, offset);
    if (bit >= bits) {
      spin_unlock_irq(&area->lock);
      break;
    }
    FillBits(range.bitmap, bit, nr, true);
    area->available_count -= count;
    spin_unlock_irq(&area->lock);

    const uint64_t pfn = range.base_pfn + (bit << area->order_per_bit);
    mutex_lock(&area->alloc_mutex);
    ret = AllocContigRange(pfn, pfn + count, kGfp, /*cma=*/true);
    mutex_unlock(&area->alloc_mutex);
    if (ret == 0) {
      *page = pfn_to_page(pfn);
      break;
    }
    ClearBitmap(area, range, pfn, count);
    if (ret != -EBUSY) break;
    start = bit + mask + 1;
  }
  return ret;
}

// cma_activate_area(). Where pages were taken early, the map is always to be
// had: Linux goes on with such pages as if the area were there, and warns when
// one is freed.
void Activate(CmaArea* area) {
  bool failed = false;
  std::vector<uint64_t> early;
  for (CmaRange& range : area->ranges) {
    early.push_back(range.early_pfn);
    const uint64_t words = (BitmapBits(*area, range) + kBits - 1) / kBits;
    if (failed) continue;
    range.bitmap = static_cast<unsigned long*>(kzalloc(
        words * sizeof(unsigned long), area->available_count < area->count
                                           ? GFP_KERNEL | __GFP_NOFAIL
                                           : GFP_KERNEL));
    failed = range.bitmap == nullptr;
  }
  if (failed) {
    for (size_t r = 0; r < area->ranges.size(); ++r) {
      CmaRange& range = area->ranges[r];
      kfree(range.bitmap);
      range.bitmap = nullptr;
      char* end =
          static_cast<char*>(__va(PFN_PHYS(range.base_pfn + range.count - 1)));
      // The address behind the area may be none.
      if (early[r] < range.base_pfn + range.count)
        free_reserved_area(__va(PFN_PHYS(early[r])), end + PAGE_SIZE, -1,
                           nullptr);
    }
    area->available_count = area->count = 0;
    pr_err("cma: CMA area %s could not be activated\n", area->name.c_str());
    return;
  }
  for (CmaRange& range : area->ranges) {
    FillBits(range.bitmap, 0,
             (range.early_pfn - range.base_pfn) >> area->order_per_bit, true);
    for (uint64_t pfn = range.early_pfn; pfn < range.base_pfn + range.count;
         pfn += pageblock_nr_pages)
      init_cma_reserved_pageblock(pfn_to_page(pfn));
  }
  sim_spin_lock_init(&area->lock, "cma->lock");
  sim_mutex_init(&area->alloc_mutex, "cma->alloc_mutex");
  area->activated = true;
}

CmaRange* RangeOf(CmaArea* area, uint64_t pfn, uint64_t count) {
  for (CmaRange& range : area->ranges) {
    const uint64_t end = range.base_pfn + range.count;
    if (pfn < range.base_pfn || pfn >= end) continue;
    if (pfn + count <= end) return &range;
    VM_WARN_ON(1);
  }
  return nullptr;
}

}  // namespace

void CmaReset() { areas.clear(); }

const std::deque<CmaArea>& CmaAreas() { return areas; }

bool CmaIntersects(uint64_t pfn, uint64_t nr) {
  for (const CmaArea& area : areas) {
    for (const CmaRange& range : area.ranges) {
      if (pfn < range.base_pfn + range.count && range.base_pfn < pfn + nr)
        return area.count != 0;
    }
  }
  return false;
}

int CmaDeclareContiguousMulti(phys_addr_t total_size, phys_addr_t align,
                              unsigned order_per_bit, const std::string& name,
                              CmaArea** res, int nid) {
  areas.emplace_back();
  CmaArea* area = &areas.back();
  area->name = name;
  area->nid = nid;
  area->order_per_bit = order_per_bit;
  area->count = area->available_count = total_size >> PAGE_SHIFT;
  int ret = DeclareOne(total_size, align, area, nid);
  if (ret == -ENOMEM) ret = DeclareMany(total_size, align, area, nid);
  const auto mib = static_cast<unsigned long>(total_size / SZ_1M);
  if (ret != 0) {
    areas.pop_back();
    pr_err("cma: Failed to reserve %lu MiB\n", mib);
    return ret;
  }
  pr_info("cma: Reserved %lu MiB in %zu range%s\n", mib, area->ranges.size(),
          area->ranges.size() == 1 ? "" : "s");
  *res = area;
  return 0;
}

// Linux takes the next pages even if they are not aligned to the size, as after
// a page of another gigantic size. No huge page can be like that here: what is
// passed over is as good as taken.
void* CmaReserveEarly(CmaArea* area, uint64_t size) {
  if (area == nullptr || area->count == 0 || area->activated) return nullptr;
  if (size % MinAlignment() != 0) return nullptr;
  if (size % (PAGE_SIZE << area->order_per_bit) != 0) return nullptr;
  const uint64_t nr = size >> PAGE_SHIFT;
  if (nr > area->available_count) return nullptr;
  for (CmaRange& range : area->ranges) {
    const uint64_t pfn = (range.early_pfn + nr - 1) & ~(nr - 1);
    if (pfn + nr > range.base_pfn + range.count) continue;
    area->passed_over += pfn - range.early_pfn;
    area->available_count -= pfn + nr - range.early_pfn;
    range.early_pfn = pfn + nr;
    return phys_to_virt(PFN_PHYS(pfn));
  }
  return nullptr;
}

void CmaInitReservedAreas() {
  for (CmaArea& area : areas) Activate(&area);
}

// __cma_alloc_frozen()
struct page* CmaAllocFrozenCompound(CmaArea* area, unsigned order) {
  MightSleep("cma_alloc_frozen_compound");
  if (area == nullptr || area->count == 0) return nullptr;
  if (M().Fails(FailKind::kAlloc, "cma_alloc_frozen_compound")) return nullptr;
  struct page* page = nullptr;
  for (const CmaRange& range : area->ranges) {
    if (AllocInRange(area, range, order, &page) != -EBUSY) break;
  }
  return page;
}

bool CmaReleaseFrozen(CmaArea* area, const struct page* page, uint64_t count) {
  if (area == nullptr || page == nullptr || count > area->count) return false;
  const uint64_t pfn = page_to_pfn(page);
  const CmaRange* range = RangeOf(area, pfn, count);
  if (range == nullptr) return false;
  free_contig_frozen_range(pfn, count);
  ClearBitmap(area, *range, pfn, count);
  return true;
}

bool CmaTaken(int nid, uint64_t pfn, uint64_t nr) {
  for (CmaArea& area : areas) {
    if (area.nid != nid || area.count == 0) continue;
    const CmaRange* range = RangeOf(&area, pfn, nr);
    if (range == nullptr) return false;
    for (uint64_t at = pfn; at < pfn + nr;
         at += uint64_t{1} << area.order_per_bit) {
      const uint64_t bit = (at - range->base_pfn) >> area.order_per_bit;
      if (!TestBit(range->bitmap, bit)) return false;
    }
    return true;
  }
  return false;
}

uint64_t CmaTakenPages(const CmaArea& area) {
  uint64_t taken = 0;
  for (const CmaRange& range : area.ranges) {
    for (uint64_t bit = 0; bit < BitmapBits(area, range); ++bit)
      taken += TestBit(range.bitmap, bit);
  }
  return taken << area.order_per_bit;
}

int64_t CmaFreeRanges(const CmaArea& area, unsigned order) {
  const uint64_t nr = uint64_t{1} << order;
  int64_t found = 0;
  if (!area.activated) return 0;
  for (const CmaRange& range : area.ranges) {
    for (uint64_t pfn = (range.base_pfn + nr - 1) & ~(nr - 1);
         pfn + nr <= range.base_pfn + range.count; pfn += nr) {
      bool taken = false, free = true;
      for (uint64_t at = pfn; at < pfn + nr;
           at += uint64_t{1} << area.order_per_bit)
        taken |=
            TestBit(range.bitmap, (at - range.base_pfn) >> area.order_per_bit);
      for (uint64_t at = pfn; !taken && free && at < pfn + nr;) {
        free = PageBuddy(pfn_to_page(at));
        if (free) at += uint64_t{1} << BuddyOrder(pfn_to_page(at));
      }
      if (!taken && !free) return found;
      found += !taken;
    }
  }
  return found;
}

}  // namespace sim
