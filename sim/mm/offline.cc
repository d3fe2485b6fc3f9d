// SPDX-License-Identifier: BSD-3-Clause
//
// Taking a block of memory away from the kernel, as far as it has to do with
// pages of files and pools: offline_pages() of mm/memory_hotplug.c. A block
// that went offline comes back at once. Left out: notifiers, ZONE_MOVABLE,
// nodes that would have no memory left, pages with memory errors.
#include "sim/mm/offline.h"

#include <sim/kernel_api.h>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/contig.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/memmap.h"
#include "sim/mm/migrate.h"
#include "sim/mm/owners.h"

namespace sim {
namespace {

// Upstream goes on for as long as a page that could be moved is there, a
// pinned one included, until the writer of "offline" gets a signal. Here
// the administrator interrupts it.
constexpr int kPatience = 4;

struct folio* FolioOf(uint64_t pfn) {
  return reinterpret_cast<struct folio*>(CompoundHead(pfn));
}

uint64_t EndOf(const struct folio* folio) {
  return folio_pfn(folio) + static_cast<uint64_t>(folio_nr_pages(folio));
}

// scan_movable_pages(): something from *pfn on that could be moved.
bool ScanMovable(uint64_t* pfn, uint64_t end) {
  for (; *pfn < end; ++*pfn) {
    const struct page* page = pfn_to_page(*pfn);
    if (PageBuddy(page)) {
      *pfn += (uint64_t{1} << BuddyOrder(page)) - 1;
      continue;
    }
    struct folio* folio = FolioOf(*pfn);
    if (!folio_test_hugetlb(folio)) {
      if (PageMovable(page)) return true;
      continue;
    }
    if (folio_test_hugetlb_migratable(folio)) return true;
    *pfn = EndOf(folio) - 1;
  }
  return false;
}

// do_migrate_range(): to other nodes, if there are any.
void MigrateRange(uint64_t start, uint64_t end) {
  LIST_HEAD(source);
  for (uint64_t pfn = start; pfn < end; ++pfn) {
    struct folio* folio = FolioOf(pfn);
    if (OwnerOf(pfn) == Owner::kFree || !folio_try_get(folio)) continue;
    if (folio_test_large(folio)) pfn = EndOf(folio) - 1;
    IsolateFolio(folio, &source);
    folio_put(folio);
  }
  if (list_empty(&source)) return;
  const int nid = folio_nid(list_first_entry(&source, struct folio, lru));
  nodemask_t nodes = node_states[N_MEMORY];
  node_clear(nid, nodes);
  if (nodes_empty(nodes)) node_set(nid, nodes);
  MigrateFolios(&source, nid, GFP_KERNEL | __GFP_MOVABLE | __GFP_RETRY_MAYFAIL,
                MR_MEMORY_HOTPLUG, &nodes);
  PutbackFolios(&source);
}

// test_pages_isolated()
bool AllFree(uint64_t start, uint64_t end) {
  uint64_t pfn = start;
  while (pfn < end && PageBuddy(pfn_to_page(pfn)))
    pfn += uint64_t{1} << BuddyOrder(pfn_to_page(pfn));
  return pfn >= end;
}

// The loop of offline_pages(), with the range isolated.
int EmptyRange(uint64_t start, uint64_t end) {
  int rounds = 0;
  do {
    uint64_t pfn = start;
    for (;;) {
      if (FatalSignalPending() || ++rounds > kPatience) return -EINTR;
      cond_resched();
      if (!ScanMovable(&pfn, end)) break;
      MigrateRange(pfn, end);
    }
    const int ret = dissolve_free_hugetlb_folios(start, end);
    if (ret) return ret;
  } while (!AllFree(start, end));
  return 0;
}

}  // namespace

int MemoryBlockOffline(uint64_t pfn) {
  const uint64_t pages = M().geometry().memory_block >> PAGE_SHIFT;
  const uint64_t start = pfn / pages * pages;
  const uint64_t end = start + pages;
  MightSleep("offline_pages");
  for (uint64_t at = start; at < end; at += pageblock_nr_pages) {
    // A hole, or another zone.
    if (!pfn_valid(at) || Map().nid[at] != Map().nid[pfn]) return -EINVAL;
  }
  int ret = StartIsolatePageRange(start, end);
  if (ret) return ret;
  ret = EmptyRange(start, end);
  UndoIsolatePageRange(start, end);
  return ret;
}

}  // namespace sim
