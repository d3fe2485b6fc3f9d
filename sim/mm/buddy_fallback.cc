// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/buddy.h"
#include "sim/mm/memmap.h"

// Where pages of a migrate type come from when its own lists are empty, as in
// mm/page_alloc.c:__rmqueue(). Left out: reclaimable pageblocks, watermark
// boosting, ALLOC_NOFRAGMENT.

namespace sim {
namespace {

int FallbackOf(int type) {
  return type == MIGRATE_MOVABLE ? MIGRATE_UNMOVABLE : MIGRATE_MOVABLE;
}

// should_try_claim_block()
bool ShouldTryClaim(unsigned order, int type) {
  return order >= pageblock_order || order >= pageblock_order / 2 ||
         type == MIGRATE_UNMOVABLE;
}

// try_to_claim_block(): makes the whole pageblock this type's, if enough of
// it is free or alike.
struct page* TryToClaim(Zone* zone, struct page* page, unsigned high,
                        unsigned order, int type, int block_type) {
  const uint64_t pfn = page_to_pfn(page);
  if (high >= pageblock_order) {
    DelFromFreeList(zone, page, high, block_type);
    AccountFree(zone, -(1L << high), block_type);
    for (uint64_t i = 0; i < (uint64_t{1} << high); i += pageblock_nr_pages) {
      SetPageblockType(pfn + i, type);
    }
    AccountFree(zone, Expand(zone, page, order, high, type), type);
    return page;
  }
  const uint64_t start = pfn & ~(pageblock_nr_pages - 1);
  const uint64_t end = start + pageblock_nr_pages;
  if (start < zone->start_pfn || end > zone->end_pfn) return nullptr;
  uint64_t free_pages = 0, movable = 0;
  for (uint64_t p = start; p < end;) {
    const struct page* at = pfn_to_page(p);
    if (PageBuddy(at)) {
      free_pages += uint64_t{1} << BuddyOrder(at);
      p += uint64_t{1} << BuddyOrder(at);
      continue;
    }
    if (PageMovable(at)) ++movable;
    ++p;
  }
  uint64_t alike = 0;
  if (type == MIGRATE_MOVABLE) {
    alike = movable;
  } else if (block_type == MIGRATE_MOVABLE) {
    alike = pageblock_nr_pages - (free_pages + movable);
  }
  if (free_pages + alike < pageblock_nr_pages / 2) return nullptr;
  MoveFreePagesBlock(zone, start, block_type, type);
  SetPageblockType(start, type);
  return TakeSmallest(zone, order, type);
}

// __rmqueue_claim(): from the largest free block of the other type.
struct page* Claim(Zone* zone, unsigned order, int type) {
  const int fallback = FallbackOf(type);
  for (int high = static_cast<int>(MAX_PAGE_ORDER);
       high >= static_cast<int>(order); --high) {
    if (!ShouldTryClaim(static_cast<unsigned>(high), type)) break;
    struct list_head& list = zone->area[high].list[fallback];
    if (list_empty(&list)) continue;
    struct page* page =
        TryToClaim(zone, list_first_entry(&list, struct page, lru),
                   static_cast<unsigned>(high), order, type, fallback);
    if (page != nullptr) return page;
  }
  return nullptr;
}

}  // namespace

// __rmqueue(). Movable allocations take from CMA when more than half of what
// is free lies there, or when their own lists are empty; others never do.
struct page* TakeFromZone(Zone* zone, unsigned order, int type) {
  if (zone->free_pages < (uint64_t{1} << order)) return nullptr;
  const bool cma = type == MIGRATE_MOVABLE;
  if (cma && zone->free_cma_pages > zone->free_pages / 2) {
    struct page* page = TakeSmallest(zone, order, MIGRATE_CMA);
    if (page != nullptr) return page;
  }
  struct page* page = TakeSmallest(zone, order, type);
  if (page == nullptr && cma) page = TakeSmallest(zone, order, MIGRATE_CMA);
  if (page == nullptr) page = Claim(zone, order, type);
  if (page == nullptr) page = TakeSmallest(zone, order, FallbackOf(type));
  return page;
}

}  // namespace sim
