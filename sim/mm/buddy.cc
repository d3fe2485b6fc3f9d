// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/buddy.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/memmap.h"
#include "sim/mm/owners.h"

namespace sim {
namespace {

Zone zones[MAX_NUMNODES];
long totalram;
int local_node;

constexpr unsigned char kJunk = 0xa5;

// find_buddy_page_pfn(): the free block beside this one, of the same order.
struct page* FindBuddy(uint64_t pfn, unsigned order, int nid,
                       uint64_t* buddy_pfn) {
  *buddy_pfn = pfn ^ (uint64_t{1} << order);
  if (*buddy_pfn >= Map().end_pfn) return nullptr;
  struct page* buddy = pfn_to_page(*buddy_pfn);
  if (!PageBuddy(buddy) || BuddyOrder(buddy) != order ||
      Map().nid[*buddy_pfn] != nid) {
    return nullptr;
  }
  return buddy;
}

// buddy_merge_likely(): the pair of the merged block is free already, so
// that this one is better not taken soon.
bool MergeLikely(uint64_t pfn, uint64_t buddy_pfn, unsigned order, int nid) {
  if (order + 1 >= MAX_PAGE_ORDER) return false;
  uint64_t unused;
  return FindBuddy(buddy_pfn & pfn, order + 1, nid, &unused) != nullptr;
}

bool Mergeable(int type) { return type < 3; }  // MIGRATE_PCPTYPES

void BadPage(const struct page* page, const char* property,
             const std::string& what) {
  M().Report(property,
             absl::StrCat("page frame ", page_to_pfn(page), ": ", what));
}

// __free_pages_prepare(): false when the block is in no state to be freed.
// Such pages are leaked, as in the kernel.
bool FreePrepare(struct page* page, unsigned order) {
  const uint64_t pfn = page_to_pfn(page);
  const uint64_t nr = uint64_t{1} << order;
  if ((pfn & (nr - 1)) != 0 || pfn + nr > Map().end_pfn) {
    BadPage(page, "discipline", absl::StrCat("freed with order ", order));
    return false;
  }
  const Owner owner = OwnerOf(pfn);
  if (owner == Owner::kFree || owner == Owner::kReserved ||
      owner == Owner::kHole) {
    BadPage(page, "one-owner",
            absl::StrCat("freed, but it is ", OwnerName(owner)));
    return false;
  }
  if (page->compound_head & 1) {
    BadPage(page, "discipline", "tail page freed");
    return false;
  }
  const bool compound = (page->flags >> PG_head) & 1;
  auto* folio = reinterpret_cast<struct folio*>(page);
  if (compound != (order > 0 && compound) ||
      (compound && folio->_order != order)) {
    BadPage(page, "discipline",
            absl::StrCat("compound page freed with order ", order));
    return false;
  }
  constexpr uint64_t kMayNotBeSet = 1UL << PG_locked | 1UL << PG_reserved |
                                    1UL << PG_hugetlb | 1UL << PG_buddy |
                                    1UL << PG_slab;
  const char* bad = nullptr;
  if (page->_refcount.counter != 0) bad = "reference count is not zero";
  if (page->_mapcount.counter != 0) bad = "still mapped";
  if (page->mapping != nullptr) bad = "still in a page cache";
  if (page->objcg != nullptr) bad = "still charged";
  if ((page->flags & kMayNotBeSet) != 0) bad = "flags set that may not be";
  if (compound && folio->_pincount.counter != 0) bad = "still pinned";
  if (bad != nullptr) {
    BadPage(page, "discipline", absl::StrCat("freed, but ", bad));
    return false;
  }
  const uint64_t node_bits = page->flags >> SIM_NODE_SHIFT << SIM_NODE_SHIFT;
  const uint64_t tails = std::min(nr, kWrittenTails);
  for (uint64_t i = 1; i < tails; ++i) {
    struct page* tail = page + i;
    const bool is_tail = tail->compound_head & 1;
    if (compound != is_tail ||
        (is_tail &&
         tail->compound_head - 1 != reinterpret_cast<unsigned long>(page)) ||
        tail->_refcount.counter != 0 || (tail->flags & kMayNotBeSet) != 0) {
      BadPage(tail, "discipline", "tail page is bad");
      return false;
    }
    const uint64_t keep = tail->flags & 1UL << PG_hwpoison;
    memset(tail, 0, sizeof(*tail));
    tail->flags = node_bits | keep;
  }
  if (order == 0 && ((page->flags >> PG_hwpoison) & 1) != 0) {
    SetOwner(pfn, 1, Owner::kPoisoned);
    return false;
  }
  const uint64_t keep = page->flags & 1UL << PG_hwpoison;
  memset(page, 0, sizeof(*page));
  page->flags = node_bits | keep;
  return true;
}

}  // namespace

Zone& ZoneOf(int nid) { return zones[nid]; }
int LocalNode() { return local_node; }
void AddTotalRam(long pages) { totalram += pages; }

void BuddyReset() {
  totalram = 0;
  local_node = 0;
  for (Zone& zone : zones) {
    zone.start_pfn = zone.end_pfn = 0;
    zone.free_pages = zone.free_cma_pages = zone.free_isolated_pages = 0;
    zone.managed_pages = 0;
    zone.zonelist_length = 0;
  }
}

// Follows build_zonelists() with find_next_best_node(): itself, then the
// others by distance, those above it before those below. All distances
// between nodes are alike here.
void BuildZones() {
  int node_load[MAX_NUMNODES] = {};
  local_node = first_memory_node;
  for (int nid = 0; nid < MAX_NUMNODES; ++nid) {
    if (!node_state(nid, N_MEMORY)) continue;
    Zone& zone = zones[nid];
    zone.nid = nid;
    zone.start_pfn = ~uint64_t{0};
    for (const NodeSpan& span : Map().spans) {
      if (span.nid != nid) continue;
      zone.start_pfn = std::min(zone.start_pfn, span.start_pfn);
      zone.end_pfn = std::max(zone.end_pfn, span.start_pfn + span.nr_pages);
    }
    for (unsigned order = 0; order <= MAX_PAGE_ORDER; ++order) {
      zone.area[order].nr_free = 0;
      for (struct list_head& list : zone.area[order].list) {
        INIT_LIST_HEAD(&list);
      }
    }
    zone.zonelist[zone.zonelist_length++] = nid;
    bool used[MAX_NUMNODES] = {};
    used[nid] = true;
    for (int prev = nid;;) {
      int best = -1, best_value = 0;
      for (int n = 0; n < MAX_NUMNODES; ++n) {
        if (used[n] || !node_state(n, N_MEMORY)) continue;
        const int value = (n < nid ? 1 : 0) * MAX_NUMNODES + node_load[n];
        if (best < 0 || value < best_value) {
          best = n;
          best_value = value;
        }
      }
      if (best < 0) break;
      used[best] = true;
      // The first of a group of equal distance gets a penalty.
      if (prev == nid) ++node_load[best];
      zone.zonelist[zone.zonelist_length++] = best;
      prev = best;
    }
  }
}

// account_freepages()
void AccountFree(Zone* zone, long pages, int type) {
  const uint64_t delta = static_cast<uint64_t>(pages);
  if (type == MIGRATE_ISOLATE) {
    zone->free_isolated_pages += delta;
    return;
  }
  zone->free_pages += delta;
  if (type == MIGRATE_CMA) zone->free_cma_pages += delta;
}

void AddToFreeList(Zone* zone, struct page* page, unsigned order, int type,
                   bool tail) {
  FreeArea& area = zone->area[order];
  page->flags |= 1UL << PG_buddy;
  page->private_ = order;
  TouchPage(page_to_pfn(page));
  if (tail) {
    list_add_tail(&page->lru, &area.list[type]);
  } else {
    list_add(&page->lru, &area.list[type]);
  }
  ++area.nr_free;
}

// __del_page_from_free_list()
void DelFromFreeList(Zone* zone, struct page* page, unsigned order, int) {
  __list_del(page->lru.prev, page->lru.next);
  page->lru.next = page->lru.prev = nullptr;
  page->flags &= ~(1UL << PG_buddy);
  page->private_ = 0;
  --zone->area[order].nr_free;
}

// __free_one_page()
void FreeOnePage(Zone* zone, uint64_t pfn, unsigned order, int type,
                 bool to_tail) {
  AccountFree(zone, 1L << order, type);
  uint64_t buddy_pfn = 0;
  while (order < MAX_PAGE_ORDER) {
    struct page* buddy = FindBuddy(pfn, order, zone->nid, &buddy_pfn);
    if (buddy == nullptr) break;
    int buddy_type = type;
    if (order >= pageblock_order) {
      // CMA and isolated blocks keep to themselves.
      buddy_type = PageblockType(buddy_pfn);
      if (buddy_type != type && (!Mergeable(type) || !Mergeable(buddy_type))) {
        break;
      }
    }
    DelFromFreeList(zone, buddy, order, buddy_type);
    if (buddy_type != type) {
      for (uint64_t i = 0; i < (uint64_t{1} << order);
           i += pageblock_nr_pages) {
        SetPageblockType(buddy_pfn + i, type);
      }
    }
    pfn &= buddy_pfn;
    ++order;
  }
  if (!to_tail) to_tail = MergeLikely(pfn, buddy_pfn, order, zone->nid);
  AddToFreeList(zone, pfn_to_page(pfn), order, type, to_tail);
}

// split_large_buddy(): each pageblock may have another type.
void SplitLargeBuddy(Zone* zone, uint64_t pfn, unsigned order, bool to_tail) {
  const uint64_t end = pfn + (uint64_t{1} << order);
  order = std::min(order, pageblock_order);
  for (; pfn < end; pfn += uint64_t{1} << order) {
    FreeOnePage(zone, pfn, order, PageblockType(pfn), to_tail);
  }
}

// expand(): the upper halves that are left over go to the lists' heads.
unsigned Expand(Zone* zone, struct page* page, unsigned low, unsigned high,
                int type) {
  unsigned added = 0;
  while (high > low) {
    --high;
    AddToFreeList(zone, page + (1UL << high), high, type, false);
    added += 1u << high;
  }
  return added;
}

// __rmqueue_smallest()
struct page* TakeSmallest(Zone* zone, unsigned order, int type) {
  for (unsigned high = order; high <= MAX_PAGE_ORDER; ++high) {
    struct list_head& list = zone->area[high].list[type];
    if (list_empty(&list)) continue;
    struct page* page = list_first_entry(&list, struct page, lru);
    DelFromFreeList(zone, page, high, type);
    long taken = 1L << high;
    taken -= Expand(zone, page, order, high, type);
    AccountFree(zone, -taken, type);
    return page;
  }
  return nullptr;
}

// __move_freepages_block(): to the tail of the other type's lists.
void MoveFreePagesBlock(Zone* zone, uint64_t block_pfn, int from, int to) {
  for (uint64_t pfn = block_pfn, end = block_pfn + pageblock_nr_pages;
       pfn < end && pfn < Map().end_pfn;) {
    struct page* page = pfn_to_page(pfn);
    if (!PageBuddy(page)) {
      ++pfn;
      continue;
    }
    const unsigned order = BuddyOrder(page);
    list_move_tail(&page->lru, &zone->area[order].list[to]);
    AccountFree(zone, -(1L << order), from);
    AccountFree(zone, 1L << order, to);
    pfn += uint64_t{1} << order;
  }
}

bool PageMovable(const struct page* page) {
  return OwnerOf(page_to_pfn(page)) == Owner::kFolio &&
         page->mapping != nullptr && ((page->flags >> PG_swapbacked) & 1) != 0;
}

// prep_new_page() and post_alloc_hook(). Pages for the kernel's own use are
// filled, with junk where zeros were not asked for; user pages keep what is in
// them until their user clears them.
void PrepNewPage(struct page* page, unsigned order, gfp_t gfp) {
  const uint64_t pfn = page_to_pfn(page);
  const uint64_t nr = uint64_t{1} << order;
  const bool user = (gfp & (__GFP_MOVABLE | __GFP_HARDWALL)) != 0;
  InitStructPages(pfn, nr);
  // Blocks that are no compound page may be split into single pages.
  TouchPages(pfn, (gfp & __GFP_COMP) != 0 ? std::min(nr, kWrittenTails) : nr);
  SetOwner(pfn, nr, user ? Owner::kFolio : Owner::kKernel);
  PhysicalMemory& memory = M().memory();
  if ((gfp & __GFP_ZERO) != 0) memory.Zero(pfn, nr);
  if (!user) {
    memory.MarkDirty(pfn, nr);
    if ((gfp & __GFP_ZERO) == 0) {
      memset(page_address(page), kJunk, nr << PAGE_SHIFT);
    }
  }
  if ((gfp & __GFP_COMP) != 0) prep_compound_page(page, order);
}

// get_page_from_freelist()
struct page* TakePages(gfp_t gfp, unsigned order, int nid,
                       const nodemask_t* nodes) {
  if (sim_memalloc_pin()) {
    // current_gfp_context(): long-term pinned pages must not lie in CMA.
    if ((gfp & __GFP_MOVABLE) != 0) gfp |= __GFP_HARDWALL;
    gfp &= ~__GFP_MOVABLE;
  }
  if (nid < 0 || nid >= MAX_NUMNODES || zones[nid].zonelist_length == 0) {
    nid = local_node;
  }
  const int type =
      (gfp & __GFP_MOVABLE) != 0 ? MIGRATE_MOVABLE : MIGRATE_UNMOVABLE;
  for (uint64_t i = 0; i < zones[nid].zonelist_length; ++i) {
    const int node = zones[nid].zonelist[i];
    if ((gfp & __GFP_THISNODE) != 0 && node != nid) continue;
    if (nodes != nullptr && !node_isset(node, *nodes)) continue;
    struct page* page = TakeFromZone(&zones[node], order, type);
    if (page != nullptr) {
      PrepNewPage(page, order, gfp);
      return page;
    }
  }
  // What the kernel needs for itself are single pages.
  if (order == 0 && nodes == nullptr && (gfp & __GFP_THISNODE) == 0)
    M().NoteShortage();
  return nullptr;
}

void GivePages(struct page* page, unsigned order) {
  if (!FreePrepare(page, order)) return;
  const uint64_t pfn = page_to_pfn(page);
  SetOwner(pfn, uint64_t{1} << order, Owner::kFree);
  SplitLargeBuddy(&zones[page_to_nid(page)], pfn, order, false);
}

// Follows take_page_off_buddy() and break_down_buddy_pages(): the halves that
// it is not in stay free.
bool TakePageOffBuddy(struct page* page) {
  const uint64_t pfn = page_to_pfn(page);
  Zone& zone = zones[page_to_nid(page)];
  for (unsigned order = 0; order <= MAX_PAGE_ORDER; ++order) {
    uint64_t head = pfn & ~((uint64_t{1} << order) - 1);
    if (Map().nid[head] != zone.nid || !PageBuddy(pfn_to_page(head)) ||
        BuddyOrder(pfn_to_page(head)) < order)
      continue;
    unsigned high = BuddyOrder(pfn_to_page(head));
    const int type = PageblockType(head);
    DelFromFreeList(&zone, pfn_to_page(head), high, type);
    while (high > 0) {
      const uint64_t upper = head + (uint64_t{1} << --high);
      const uint64_t buddy = pfn >= upper ? head : upper;
      if (pfn >= upper) head = upper;
      AddToFreeList(&zone, pfn_to_page(buddy), high, type, false);
    }
    AccountFree(&zone, -1, type);
    SetOwner(pfn, 1, Owner::kPoisoned);
    return true;
  }
  return false;
}

// __free_pages_core() at boot: to the tail. Struct pages are at rest.
void FreeBootPages(uint64_t pfn, unsigned order) {
  Zone& zone = zones[Map().nid[pfn]];
  const uint64_t nr = uint64_t{1} << order;
  zone.managed_pages += nr;
  // What split_large_buddy() makes of pageblocks that are alike, at once.
  const int type = PageblockType(pfn);
  bool alike = true;
  for (uint64_t i = pageblock_nr_pages; i < nr; i += pageblock_nr_pages) {
    alike = alike && PageblockType(pfn + i) == type;
  }
  if (alike) {
    FreeOnePage(&zone, pfn, order, type, true);
  } else {
    SplitLargeBuddy(&zone, pfn, order, true);
  }
}

}  // namespace sim

extern "C" {

// mm/page_alloc.c:__alloc_frozen_pages_noprof()
struct page* sim_alloc_frozen_pages(gfp_t gfp, unsigned int order, int nid,
                                    const nodemask_t* nodes) {
  if ((gfp & __GFP_DIRECT_RECLAIM) != 0) {
    sim::MightSleep("alloc_pages");
  } else {
    sim::Step("alloc_pages");
  }
  if (order > MAX_PAGE_ORDER) {
    WARN_ON((gfp & __GFP_NOWARN) == 0);
    return nullptr;
  }
  if ((gfp & __GFP_NOFAIL) == 0 &&
      sim::M().Fails(sim::FailKind::kAlloc, "alloc_pages")) {
    return nullptr;
  }
  return sim::TakePages(gfp, order, nid, nodes);
}

struct page* sim_alloc_pages_node(int nid, gfp_t gfp, unsigned int order,
                                  const nodemask_t* nodes) {
  struct page* page = sim_alloc_frozen_pages(gfp, order, nid, nodes);
  if (page != nullptr) set_page_count(page, 1);
  return page;
}

// Node of the running CPU: the caller's memory policy is not looked at.
struct folio* folio_alloc(gfp_t gfp, unsigned int order) {
  return reinterpret_cast<struct folio*>(
      sim_alloc_pages_node(NUMA_NO_NODE, gfp | __GFP_COMP, order, nullptr));
}

unsigned long get_zeroed_page(gfp_t gfp) {
  struct page* page =
      sim_alloc_pages_node(NUMA_NO_NODE, gfp | __GFP_ZERO, 0, nullptr);
  return page == nullptr ? 0
                         : reinterpret_cast<unsigned long>(page_address(page));
}

void free_page(unsigned long addr) {
  if (addr != 0) __free_pages(virt_to_page(addr), 0);
}

// Drops the caller's reference to the block and frees it with the last one.
void __free_pages(struct page* page, unsigned int order) {
  if (page->_refcount.counter <= 0) {
    sim::M().Report("discipline", absl::StrCat("page frame ", page_to_pfn(page),
                                               ": freed without a reference"));
    return;
  }
  if (--page->_refcount.counter == 0) free_frozen_pages(page, order);
}

void free_frozen_pages(struct page* page, unsigned int order) {
  sim::Step("free_pages");
  sim::GivePages(page, order);
}

void prep_compound_page(struct page* page, unsigned int order) {
  const uint64_t nr = 1UL << order;
  auto* folio = reinterpret_cast<struct folio*>(page);
  sim::CheckInitialised(page_to_pfn(page), nr);
  sim::TouchPages(page_to_pfn(page), std::min(nr, sim::kWrittenTails));
  if (order == 0) return;
  folio_set_large(folio);
  for (uint64_t i = 1; i < std::min(nr, sim::kWrittenTails); ++i) {
    struct page* tail = page + i;
    tail->compound_head = reinterpret_cast<unsigned long>(page) | 1;
    tail->_refcount.counter = 0;
  }
  folio->_order = order;
  folio->_pincount.counter = 0;
}

// Positive counts are pages that were reserved and are handed out from now on.
void adjust_managed_page_count(struct page* page, long count) {
  sim::ZoneOf(page_to_nid(page)).managed_pages += static_cast<uint64_t>(count);
  sim::totalram += count;
  const uint64_t pfn = page_to_pfn(page);
  for (long i = 0; i < count; ++i) {
    if (sim::OwnerOf(pfn + static_cast<uint64_t>(i)) != sim::Owner::kReserved) {
      return;
    }
  }
  if (count > 0) {
    sim::SetOwner(pfn, static_cast<uint64_t>(count), sim::Owner::kKernel);
  }
}

unsigned long totalram_pages(void) {
  return static_cast<unsigned long>(sim::totalram);
}

// free_reserved_pages(), page by page; poison as in the kernel.
unsigned long free_reserved_area(void* start, void* end, int poison,
                                 const char*) {
  unsigned long pages = 0;
  if (start == end) return 0;
  // The address behind the range may be none.
  const phys_addr_t last = __pa(static_cast<char*>(end) - 1);
  for (uint64_t pfn = PFN_UP(__pa(start)); pfn < PFN_DOWN(last + 1); ++pfn) {
    struct page* page = pfn_to_page(pfn);
    if (poison >= 0 && poison <= 0xff) {
      sim::M().memory().MarkDirty(pfn);
      memset(page_address(page), poison, PAGE_SIZE);
    }
    page->flags &= ~(1UL << PG_reserved);
    page->_refcount.counter = 0;
    page->private_ = 0;
    adjust_managed_page_count(page, 1);
    free_frozen_pages(page, 0);
    ++pages;
  }
  return pages;
}

// mm/mm_init.c: a reserved pageblock becomes free CMA memory.
void init_cma_reserved_pageblock(struct page* page) {
  for (uint64_t i = 0; i < pageblock_nr_pages; ++i) {
    page[i].flags &= ~(1UL << PG_reserved);
    page[i]._refcount.counter = 0;
  }
  sim::SetPageblockType(page_to_pfn(page), MIGRATE_CMA);
  adjust_managed_page_count(page, static_cast<long>(pageblock_nr_pages));
  free_frozen_pages(page, pageblock_order);
}

}  // extern "C"
