// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/migrate.h"

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/mapping.h"
#include "sim/mm/memmap.h"

// Left out: asynchronous modes, batching, writeback, swap, large folios other
// than hugetlb's.

namespace sim {
namespace {

constexpr int kMaxTries = 10;  // NR_MAX_MIGRATE_PAGES_RETRY

// alloc_migration_target()
struct folio* AllocTarget(struct folio* old, int nid, gfp_t gfp,
                          enum migrate_reason reason, nodemask_t* nodes) {
  if (nid == NUMA_NO_NODE) nid = folio_nid(old);
  if (folio_test_hugetlb(old)) {
    struct hstate* h = folio_hstate(old);
    // htlb_modify_alloc_mask(), htlb_allow_alloc_fallback()
    gfp = htlb_alloc_mask(h) | (gfp & (__GFP_THISNODE | __GFP_NOWARN));
    return alloc_hugetlb_folio_nodemask(
        h, nid, nodes, gfp,
        reason == MR_SYSCALL || reason == MR_MEMORY_HOTPLUG);
  }
  return reinterpret_cast<struct folio*>(
      sim_alloc_pages_node(nid, gfp, folio_order(old), nodes));
}

// folio_mc_copy(): bytes, and which frames have any.
void CopyFolio(struct folio* to, struct folio* from) {
  PhysicalMemory& memory = M().memory();
  const uint64_t dst = folio_pfn(to), src = folio_pfn(from);
  const uint64_t nr = static_cast<uint64_t>(folio_nr_pages(from));
  for (uint64_t i = 0; i < nr; ++i) {
    if (memory.IsDirty(src + i)) {
      memory.MarkDirty(dst + i);
      memcpy(__va(PFN_PHYS(dst + i)), __va(PFN_PHYS(src + i)), PAGE_SIZE);
    } else {
      memory.Zero(dst + i, 1);
    }
  }
}

// migrate_huge_page_move_mapping(), __folio_migrate_mapping() and
// folio_migrate_flags() in one. Both folios are locked, `from` is mapped
// nowhere, and the caller's isolation holds one reference to it. -EAGAIN when
// somebody else holds one as well, a pin for example.
int MoveFolio(struct folio* to, struct folio* from) {
  struct address_space* mapping = from->mapping;
  const bool cached = mapping != nullptr && !folio_test_anon(from);
  const int nr = static_cast<int>(folio_nr_pages(from));
  if (folio_ref_count(from) != folio_expected_ref_count(from) + 1) {
    return -EAGAIN;
  }
  CopyFolio(to, from);
  to->index = from->index;
  to->mapping = mapping;
  from->mapping = nullptr;
  if (cached) {
    folio_ref_add(to, nr);
    // The slot exists: this does not allocate.
    xa_store(&mapping->i_pages, from->index, to, GFP_ATOMIC);
    folio_ref_add(from, -nr);
  }
  constexpr uint64_t kFlags =
      1UL << PG_uptodate | 1UL << PG_dirty | 1UL << PG_swapbacked;
  to->flags |= from->flags & kFlags;
  from->flags &= ~(1UL << PG_dirty | 1UL << PG_swapbacked);
  mem_cgroup_migrate(from, to);
  if (folio_test_hugetlb(from) && from->_hugetlb_subpool != nullptr) {
    to->_hugetlb_subpool = from->_hugetlb_subpool;
    from->_hugetlb_subpool = nullptr;
  }
  return 0;
}

// folio_putback_lru() for what is no hugetlb folio.
void Putback(struct folio* folio) {
  if (folio_test_hugetlb(folio)) {
    folio_putback_hugetlb(folio);
    return;
  }
  list_del_init(&folio->lru);
  folio_put(folio);
}

// unmap_and_move_hugetlb_folio(), and its like for small folios. -EAGAIN:
// worth another try. On success the old folio is off its list.
int UnmapAndMove(struct folio* old, int nid, gfp_t gfp, bool force,
                 enum migrate_reason reason, nodemask_t* nodes) {
  if (folio_ref_count(old) == 1) {
    Putback(old);  // freed meanwhile
    return 0;
  }
  struct folio* target = AllocTarget(old, nid, gfp, reason, nodes);
  if (target == nullptr) return -ENOMEM;
  int ret = -EAGAIN;
  if (!folio_trylock(old)) {
    if (!force) {
      folio_put(target);
      return ret;
    }
    folio_lock(old);
  }
  if (folio_test_hugetlb(old) && old->_hugetlb_subpool != nullptr &&
      old->mapping == nullptr) {
    ret = -EBUSY;  // being freed
  } else if (folio_trylock(target)) {
    const bool was_mapped = folio_mapped(old);
    if (was_mapped) sim_try_to_migrate(old);
    if (!folio_mapped(old)) ret = MoveFolio(target, old);
    if (was_mapped) sim_remap_folio(old, ret == 0 ? target : old);
    folio_unlock(target);
    if (ret == 0 && folio_test_hugetlb(old)) {
      move_hugetlb_state(old, target, reason);
    }
  }
  folio_unlock(old);
  if (ret == 0) Putback(old);
  folio_put(target);
  return ret;
}

}  // namespace

// folio_isolate_hugetlb(), folio_isolate_lru().
bool IsolateFolio(struct folio* folio, struct list_head* list) {
  if (folio_test_hugetlb(folio)) return folio_isolate_hugetlb(folio, list);
  if (!PageMovable(folio_page(folio, 0)) || !folio_try_get(folio)) {
    return false;
  }
  // On a list already: somebody else moves it.
  if (folio->lru.next != nullptr && folio->lru.next != &folio->lru) {
    folio_put(folio);
    return false;
  }
  list_add_tail(&folio->lru, list);
  return true;
}

void PutbackFolios(struct list_head* list) {
  while (!list_empty(list)) {
    Putback(list_first_entry(list, struct folio, lru));
  }
}

int MigrateFolios(struct list_head* list, int nid, gfp_t gfp,
                  enum migrate_reason reason, nodemask_t* nodes) {
  LIST_HEAD(failed);
  int nr_failed = 0;
  for (int pass = 0; pass < kMaxTries && !list_empty(list); ++pass) {
    LIST_HEAD(again);
    while (!list_empty(list)) {
      struct folio* folio = list_first_entry(list, struct folio, lru);
      MightSleep("migrate_pages");
      const int ret = UnmapAndMove(folio, nid, gfp, pass > 2, reason, nodes);
      if (ret == 0) continue;
      if (ret == -ENOMEM) {
        list_splice_init(&again, list);
        list_splice_init(&failed, list);
        return -ENOMEM;
      }
      list_move_tail(&folio->lru, ret == -EAGAIN ? &again : &failed);
      if (ret != -EAGAIN) ++nr_failed;
    }
    list_splice_init(&again, list);
  }
  for (const struct list_head* at = list->next; at != list; at = at->next) {
    ++nr_failed;
  }
  list_splice_init(&failed, list);
  return nr_failed;
}

}  // namespace sim
