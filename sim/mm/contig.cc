// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/contig.h"

#include <algorithm>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/memmap.h"
#include "sim/mm/migrate.h"
#include "sim/mm/owners.h"

// Contiguous ranges of pages beyond the buddy allocator's largest order:
// alloc_contig_frozen_pages() of mm/page_alloc.c with mm/page_isolation.c and
// the range scan of mm/compaction.c. Left out: reclaim, draining of caches,
// ranges that are no power of two.

namespace sim {
namespace {

constexpr int kMaxTries = 5;

uint64_t BlockStart(uint64_t pfn) { return pfn & ~(pageblock_nr_pages - 1); }

// page_is_unmovable(); *step: frames that need no further look.
bool PageUnmovable(uint64_t pfn, uint64_t* step) {
  *step = 1;
  const struct page* page = pfn_to_page(pfn);
  const Owner owner = OwnerOf(pfn);
  if (owner == Owner::kReserved || owner == Owner::kHole ||
      owner == Owner::kIsolated) {
    return true;
  }
  if (PageBuddy(page)) {
    *step = uint64_t{1} << BuddyOrder(page);
    return false;
  }
  if (owner == Owner::kFree) return false;  // inside a larger free block
  const auto* folio = reinterpret_cast<struct folio*>(CompoundHead(pfn));
  if (folio_test_large(folio)) {
    if (!folio_test_hugetlb(folio)) return true;
    *step =
        folio_pfn(folio) + static_cast<uint64_t>(folio_nr_pages(folio)) - pfn;
    return false;
  }
  return !PageMovable(page);
}

// The free block that reaches over pfn from below, or pfn itself:
// find_large_buddy().
uint64_t FindLargeBuddy(uint64_t pfn) {
  for (unsigned order = 0; order <= MAX_PAGE_ORDER; ++order) {
    const uint64_t head = pfn & ~((uint64_t{1} << order) - 1);
    const struct page* page = pfn_to_page(head);
    if (PageBuddy(page)) {
      return head + (uint64_t{1} << BuddyOrder(page)) > pfn ? head : pfn;
    }
  }
  return pfn;
}

// __move_freepages_block_isolate(): a free block that reaches beyond the
// pageblock is split first.
bool ToggleIsolation(Zone* zone, uint64_t block, bool isolate) {
  if (PageblockIsolated(block) == isolate) return false;
  if (block < zone->start_pfn || block + pageblock_nr_pages > zone->end_pfn) {
    return false;
  }
  const uint64_t head = FindLargeBuddy(block);
  struct page* page = pfn_to_page(head);
  if (PageBuddy(page) && BuddyOrder(page) > pageblock_order) {
    const unsigned order = BuddyOrder(page);
    const int type = PageblockType(head);
    DelFromFreeList(zone, page, order, type);
    AccountFree(zone, -(1L << order), type);
    SetPageblockIsolated(block, isolate);
    SplitLargeBuddy(zone, head, order, false);
    return true;
  }
  const int kept = Map().pageblock_type[block >> pageblock_order];
  MoveFreePagesBlock(zone, block, isolate ? kept : int{MIGRATE_ISOLATE},
                     isolate ? int{MIGRATE_ISOLATE} : kept);
  SetPageblockIsolated(block, isolate);
  return true;
}

// set_migratetype_isolate() with has_unmovable_pages() of the part that is
// asked for. CMA pageblocks are nobody's to take but their area's, which is not
// kept off by what is in them.
int IsolateBlock(uint64_t block, uint64_t start, uint64_t end, bool cma) {
  if (PageblockIsolated(block)) return -EBUSY;
  Zone& zone = ZoneOf(Map().nid[block]);
  if (PageblockType(block) == MIGRATE_CMA) {
    return cma && ToggleIsolation(&zone, block, true) ? 0 : -EBUSY;
  }
  const uint64_t last = std::min(end, block + pageblock_nr_pages);
  uint64_t step;
  for (uint64_t pfn = std::max(block, start); pfn < last; pfn += step) {
    if (PageUnmovable(pfn, &step)) return -EBUSY;
  }
  return ToggleIsolation(&zone, block, true) ? 0 : -EBUSY;
}

// unset_migratetype_isolate(): free blocks merge with their buddies again.
void UnisolateBlock(uint64_t block) {
  if (!PageblockIsolated(block)) return;
  Zone& zone = ZoneOf(Map().nid[block]);
  ToggleIsolation(&zone, block, false);
  struct page* page = pfn_to_page(block);
  if (PageBuddy(page) && BuddyOrder(page) == pageblock_order) {
    const int type = PageblockType(block);
    DelFromFreeList(&zone, page, pageblock_order, type);
    AccountFree(&zone, -(1L << pageblock_order), type);
    FreeOnePage(&zone, block, pageblock_order, type, true);
  }
}

// isolate_migratepages_range(): what can be moved goes to the list; free huge
// pages are replaced by others elsewhere. -ENOMEM: no use to go on.
int IsolateMovable(uint64_t start, uint64_t end, struct list_head* list) {
  uint64_t step = 1;
  for (uint64_t pfn = start; pfn < end; pfn += step) {
    step = 1;
    struct page* page = pfn_to_page(pfn);
    if (PageBuddy(page)) {
      step = uint64_t{1} << BuddyOrder(page);
      continue;
    }
    if (OwnerOf(pfn) == Owner::kFree) continue;
    auto* folio = reinterpret_cast<struct folio*>(CompoundHead(pfn));
    if (folio_test_hugetlb(folio)) {
      step =
          folio_pfn(folio) + static_cast<uint64_t>(folio_nr_pages(folio)) - pfn;
      const int ret = isolate_or_dissolve_huge_folio(folio, list);
      if (ret == -ENOMEM) return ret;
      continue;
    }
    IsolateFolio(folio, list);
  }
  return 0;
}

// __alloc_contig_migrate_range(): empties the isolated range.
int MigrateRange(uint64_t start, uint64_t end, int nid, gfp_t gfp) {
  LIST_HEAD(list);
  int ret = IsolateMovable(start, end, &list);
  for (int tries = 0; ret == 0 && !list_empty(&list); ++tries) {
    if (FatalSignalPending()) {
      ret = -EINTR;
    } else if (tries == kMaxTries) {
      ret = -EBUSY;
    } else if (MigrateFolios(&list, nid, gfp, MR_CONTIG_RANGE) == -ENOMEM) {
      ret = -ENOMEM;
    }
  }
  PutbackFolios(&list);
  return ret;
}

// pfn_range_valid_contig(): a cheap look before anything is touched.
bool RangeValid(int nid, uint64_t start, uint64_t nr, bool skip_hugetlb,
                bool* skipped_hugetlb) {
  uint64_t step;
  for (uint64_t pfn = start; pfn < start + nr; pfn += step) {
    if (!pfn_valid(pfn) || Map().nid[pfn] != nid) return false;
    if (PageUnmovable(pfn, &step)) return false;
    if (OwnerOf(pfn) == Owner::kFree) continue;
    const auto* folio = reinterpret_cast<struct folio*>(CompoundHead(pfn));
    if (folio_test_hugetlb(folio)) {
      if (skip_hugetlb) {
        *skipped_hugetlb = true;
        return false;
      }
      if (nr <= static_cast<uint64_t>(folio_nr_pages(folio))) return false;
    }
  }
  return true;
}

}  // namespace

int StartIsolatePageRange(uint64_t start, uint64_t end, bool cma) {
  for (uint64_t block = BlockStart(start); block < end;
       block += pageblock_nr_pages) {
    if (IsolateBlock(block, start, end, cma) != 0) {
      UndoIsolatePageRange(start, block);
      return -EBUSY;
    }
  }
  return 0;
}

void UndoIsolatePageRange(uint64_t start, uint64_t end) {
  for (uint64_t block = BlockStart(start); block < end;
       block += pageblock_nr_pages) {
    UnisolateBlock(block);
  }
}

int AllocContigRange(uint64_t start, uint64_t end, gfp_t gfp, bool cma) {
  const int nid = Map().nid[start];
  const unsigned order = static_cast<unsigned>(__builtin_ctzl(end - start));
  int ret = StartIsolatePageRange(start, end, cma);
  if (ret != 0) return ret;
  const gfp_t move_gfp =
      (gfp & (__GFP_IO | __GFP_FS | __GFP_RECLAIM | __GFP_NOWARN)) |
      __GFP_MOVABLE | __GFP_RETRY_MAYFAIL;
  ret = MigrateRange(start, end, nid, move_gfp);
  if (ret == 0 || ret == -EBUSY) {
    ret = replace_free_hugepage_folios(start, end);
  }
  if (ret == 0) {
    // test_pages_isolated()
    const uint64_t outer = FindLargeBuddy(start);
    uint64_t pfn = outer;
    while (pfn < end && PageBuddy(pfn_to_page(pfn))) {
      pfn += uint64_t{1} << BuddyOrder(pfn_to_page(pfn));
    }
    if (outer != start || pfn != end) ret = -EBUSY;
  }
  if (ret == 0) {
    Zone& zone = ZoneOf(nid);
    for (uint64_t pfn = start; pfn < end;) {
      struct page* page = pfn_to_page(pfn);
      const unsigned block_order = BuddyOrder(page);
      DelFromFreeList(&zone, page, block_order, MIGRATE_ISOLATE);
      AccountFree(&zone, -(1L << block_order), MIGRATE_ISOLATE);
      pfn += uint64_t{1} << block_order;
    }
    PrepNewPage(pfn_to_page(start), order, gfp);
  }
  UndoIsolatePageRange(start, end);
  return ret;
}

}  // namespace sim

extern "C" {

struct page* alloc_contig_frozen_pages(unsigned long nr_pages, gfp_t gfp,
                                       int nid, nodemask_t* nodemask) {
  sim::MightSleep("alloc_contig_frozen_pages");
  if (nr_pages == 0 || (nr_pages & (nr_pages - 1)) != 0) return nullptr;
  if (sim::M().Fails(sim::FailKind::kAlloc, "alloc_contig_frozen_pages")) {
    return nullptr;
  }
  if (nid < 0) nid = sim::LocalNode();
  bool skip_hugetlb = true, skipped_hugetlb = false;
  for (;;) {
    const sim::Zone& first = sim::ZoneOf(nid);
    for (uint64_t i = 0; i < first.zonelist_length; ++i) {
      const int node = first.zonelist[i];
      if ((gfp & __GFP_THISNODE) != 0 && node != nid) continue;
      if (nodemask != nullptr && !node_isset(node, *nodemask)) continue;
      const sim::Zone& zone = sim::ZoneOf(node);
      for (uint64_t pfn = (zone.start_pfn + nr_pages - 1) & ~(nr_pages - 1);
           pfn + nr_pages <= zone.end_pfn; pfn += nr_pages) {
        if (sim::RangeValid(node, pfn, nr_pages, skip_hugetlb,
                            &skipped_hugetlb) &&
            sim::AllocContigRange(pfn, pfn + nr_pages, gfp, false) == 0) {
          return pfn_to_page(pfn);
        }
      }
    }
    // Ranges with huge pages in them only when there are no others.
    if (!skip_hugetlb || !skipped_hugetlb) return nullptr;
    skip_hugetlb = false;
  }
}

void free_contig_frozen_range(unsigned long pfn, unsigned long nr_pages) {
  struct page* first = pfn_to_page(pfn);
  auto* folio = reinterpret_cast<struct folio*>(first);
  if (folio_test_large(folio)) {
    free_frozen_pages(first, folio->_order);
    return;
  }
  for (unsigned long i = 0; i < nr_pages; ++i) free_frozen_pages(first + i, 0);
}

}  // extern "C"
