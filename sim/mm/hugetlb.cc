// SPDX-License-Identifier: BSD-3-Clause
//
// The pools of mm/hugetlb.c: hstates, their lists and counters, pages that
// come from and go back to the page allocator.

#include "sim/mm/hugetlb.h"

#include "sim/machine/actors.h"
#include "sim/machine/locks.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/hugetlb_cma.h"
#include "sim/mm/hugetlb_vmemmap.h"
#include "sim/mm/memmap.h"
#include "sim/mm/memory_failure.h"
#include "sim/mm/sparse.h"

extern "C" {
spinlock_t hugetlb_lock;
int hugetlb_max_hstate;
unsigned int default_hstate_idx;
struct hstate hstates[HUGE_MAX_HSTATE];
}

namespace sim {
namespace {

int NextAllowed(int nid, const nodemask_t* allowed) {
  nid = sim_next_node_in(nid, allowed);
  VM_BUG_ON(nid >= MAX_NUMNODES);
  return nid;
}

int ValidAllowed(int nid, const nodemask_t* allowed) {
  return node_isset(nid, *allowed) ? nid : NextAllowed(nid, allowed);
}

// dequeue_hugetlb_folio_node_exact(): the first page of the node's free list
// that may be used; a caller that pins for long takes none that may have to
// move.
struct folio* DequeueNode(struct hstate* h, int nid) {
  const bool pin = sim_memalloc_pin();
  lockdep_assert_held(&hugetlb_lock);
  struct folio* folio;
  list_for_each_entry(folio, &h->hugepage_freelists[nid], lru) {
    if (pin && !folio_is_longterm_pinnable(folio)) continue;
    if (folio_test_hwpoison(folio)) continue;
    if (PageblockIsolated(folio_pfn(folio))) continue;
    list_move(&folio->lru, &h->hugepage_activelist);
    atomic_set(&folio->_refcount, 1);
    folio_clear_hugetlb_freed(folio);
    h->free_huge_pages--;
    h->free_huge_pages_node[nid]--;
    return folio;
  }
  return nullptr;
}

// alloc_buddy_frozen_folio(): tries hard, unless the node failed before in the
// same run over nodes.
struct folio* AllocBuddy(unsigned order, gfp_t gfp, int nid,
                         const nodemask_t* nodes, nodemask_t* noretry) {
  const bool hard = !noretry || !node_isset(nid, *noretry);
  if (hard) gfp |= __GFP_RETRY_MAYFAIL;
  auto* folio = reinterpret_cast<struct folio*>(
      sim_alloc_frozen_pages(gfp, order, nid, nodes));
  if (noretry && folio && !hard) node_clear(nid, *noretry);
  if (noretry && !folio && hard) node_set(nid, *noretry);
  return folio;
}

// alloc_gigantic_frozen_folio()
struct folio* AllocGigantic(unsigned order, gfp_t gfp, int nid,
                            const nodemask_t* nodes) {
  if (struct folio* folio = HugetlbCmaAllocFolio(order, gfp, nid, nodes))
    return folio;
  if (HugetlbCmaExclusive()) return nullptr;
  return reinterpret_cast<struct folio*>(alloc_contig_frozen_pages(
      1UL << order, gfp, nid, const_cast<nodemask_t*>(nodes)));
}

// alloc_and_dissolve_hugetlb_folio(): puts a fresh page in a free page's place.
int ReplaceFreeFolio(struct folio* old_folio, struct list_head* list) {
  struct folio* fresh = nullptr;
  struct hstate* h = nullptr;
  int ret = 0;

  for (;;) {
    spin_lock_irq(&hugetlb_lock);
    if (!folio_test_hugetlb(old_folio)) break;
    if (folio_ref_count(old_folio)) {
      spin_unlock_irq(&hugetlb_lock);
      ret = folio_isolate_hugetlb(old_folio, list) ? 0 : -EBUSY;
      spin_lock_irq(&hugetlb_lock);
      break;
    }
    if (!folio_test_hugetlb_freed(old_folio)) {
      spin_unlock_irq(&hugetlb_lock);
      cond_resched();
      continue;
    }
    h = folio_hstate(old_folio);
    if (!fresh) {
      spin_unlock_irq(&hugetlb_lock);
      fresh = AllocFreshHugetlbFolio(h, htlb_alloc_mask(h) | __GFP_THISNODE,
                                     folio_nid(old_folio), nullptr, nullptr);
      if (!fresh) return -ENOMEM;
      VmemmapOptimizeFolio(h, fresh);
      continue;
    }
    remove_hugetlb_folio(h, old_folio, false);
    AccountNewHugetlbFolio(h, fresh);
    EnqueueHugetlbFolio(h, fresh);
    spin_unlock_irq(&hugetlb_lock);
    UpdateAndFreeHugetlbFolio(h, old_folio);
    return ret;
  }
  spin_unlock_irq(&hugetlb_lock);
  if (fresh) UpdateAndFreeHugetlbFolio(h, fresh);
  return ret;
}

// What hugetlb_lock guards: the counters, and the ends of the lists. At boot
// max_huge_pages is the command line's request, and nobody locks anything for
// it.
uint64_t PoolState() {
  uint64_t sum = 0;
  auto add = [&sum](uint64_t word) {
    sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
    sum ^= sum >> 32;
  };
  auto add_list = [&add](const struct list_head& list) {
    // A page size may be made later: what is not there is as what is empty.
    const bool empty = list.next == &list;
    add(empty ? 0 : reinterpret_cast<uintptr_t>(list.next));
    add(empty ? 0 : reinterpret_cast<uintptr_t>(list.prev));
  };
  const int nodes = M().geometry().nodes;
  for (const struct hstate& h : hstates) {
    if (CurrentActor() >= 0) add(h.max_huge_pages);
    add(h.nr_huge_pages);
    add(h.free_huge_pages);
    add(h.resv_huge_pages);
    add(h.surplus_huge_pages);
    add_list(h.hugepage_activelist);
    for (int nid = 0; nid < nodes; ++nid) {
      add_list(h.hugepage_freelists[nid]);
      add(h.nr_huge_pages_node[nid]);
      add(h.free_huge_pages_node[nid]);
      add(h.surplus_huge_pages_node[nid]);
    }
  }
  return sum;
}

}  // namespace

// The static data of a fresh kernel; hugetlb_boot.cc resets the rest.
void HugetlbPoolsReset() {
  sim_spin_lock_init(&hugetlb_lock, "hugetlb_lock");
  GuardedBy(&hugetlb_lock.l, PoolState);
  hugetlb_max_hstate = 0;
  default_hstate_idx = 0;
  memset(static_cast<void*>(hstates), 0, sizeof(hstates));
  MemoryFailureReset();
  SparseReset();
}

// Follows hstate_next_node_to_alloc().
int NextNodeToAlloc(int* next_node, const nodemask_t* allowed) {
  const int nid = ValidAllowed(*next_node, allowed);
  *next_node = NextAllowed(nid, allowed);
  return nid;
}

// Follows hstate_next_node_to_free().
int NextNodeToFree(struct hstate* h, const nodemask_t* allowed) {
  const int nid = ValidAllowed(h->next_nid_to_free, allowed);
  h->next_nid_to_free = NextAllowed(nid, allowed);
  return nid;
}

// Follows account_new_hugetlb_folio().
void AccountNewHugetlbFolio(struct hstate* h, struct folio* folio) {
  lockdep_assert_held(&hugetlb_lock);
  h->nr_huge_pages++;
  h->nr_huge_pages_node[folio_nid(folio)]++;
}

// Follows enqueue_hugetlb_folio().
void EnqueueHugetlbFolio(struct hstate* h, struct folio* folio) {
  const int nid = folio_nid(folio);
  lockdep_assert_held(&hugetlb_lock);
  VM_BUG_ON_FOLIO(folio_ref_count(folio), folio);
  list_move(&folio->lru, &h->hugepage_freelists[nid]);
  h->free_huge_pages++;
  h->free_huge_pages_node[nid]++;
  folio_set_hugetlb_freed(folio);
}

// Follows dequeue_hugetlb_folio_nodemask(): nodes in the order of the zonelist
// of `nid`. cpusets are left out.
struct folio* DequeueHugetlbFolioNodemask(struct hstate* h, gfp_t gfp, int nid,
                                          const nodemask_t* nodes) {
  (void)gfp;
  if (nid == NUMA_NO_NODE) nid = NumaNodeId();
  const Zone& local = ZoneOf(nid);
  for (uint64_t i = 0; i < local.zonelist_length; i++) {
    const int node = local.zonelist[i];
    if (nodes && !node_isset(node, *nodes)) continue;
    if (struct folio* folio = DequeueNode(h, node)) return folio;
  }
  return nullptr;
}

// Follows only_alloc_fresh_hugetlb_folio().
struct folio* AllocFreshHugetlbFolio(struct hstate* h, gfp_t gfp, int nid,
                                     const nodemask_t* nodes,
                                     nodemask_t* noretry) {
  const unsigned order = huge_page_order(h);
  if (nid == NUMA_NO_NODE) nid = NumaNodeId();
  struct folio* folio = order_is_gigantic(order)
                            ? AllocGigantic(order, gfp, nid, nodes)
                            : AllocBuddy(order, gfp, nid, nodes, noretry);
  if (folio) init_new_hugetlb_folio(folio);
  return folio;
}

// Follows alloc_pool_huge_folio().
struct folio* AllocPoolHugeFolio(struct hstate* h, const nodemask_t* allowed,
                                 nodemask_t* noretry, int* next_node) {
  const gfp_t gfp = htlb_alloc_mask(h) | __GFP_THISNODE;
  for (int nr = nodes_weight(*allowed); nr > 0; nr--) {
    const int nid = NextNodeToAlloc(next_node, allowed);
    struct folio* folio = AllocFreshHugetlbFolio(h, gfp, nid, allowed, noretry);
    if (folio) return folio;
  }
  return nullptr;
}

// Follows remove_pool_hugetlb_folio().
struct folio* RemovePoolHugetlbFolio(struct hstate* h,
                                     const nodemask_t* allowed, bool surplus) {
  lockdep_assert_held(&hugetlb_lock);
  for (int nr = nodes_weight(*allowed); nr > 0; nr--) {
    const int nid = NextNodeToFree(h, allowed);
    if (surplus && !h->surplus_huge_pages_node[nid]) continue;
    struct list_head* list = &h->hugepage_freelists[nid];
    if (list_empty(list)) continue;
    struct folio* folio = list_first_entry(list, struct folio, lru);
    remove_hugetlb_folio(h, folio, surplus);
    return folio;
  }
  return nullptr;
}

// Follows add_hugetlb_folio(): back into the pool, as the page structures could
// not be had again.
void AddHugetlbFolio(struct hstate* h, struct folio* folio,
                     bool adjust_surplus) {
  const int nid = folio_nid(folio);
  VM_BUG_ON_FOLIO(!folio_test_hugetlb_vmemmap_optimized(folio), folio);
  lockdep_assert_held(&hugetlb_lock);
  INIT_LIST_HEAD(&folio->lru);
  AccountNewHugetlbFolio(h, folio);
  if (adjust_surplus) {
    h->surplus_huge_pages++;
    h->surplus_huge_pages_node[nid]++;
  }
  // From here on nobody knows, in Linux either, that it is an area's.
  if (folio_test_hugetlb_cma(folio)) HugetlbCmaForget(folio);
  folio->private_ = nullptr;
  folio_set_hugetlb_vmemmap_optimized(folio);
  EnqueueHugetlbFolio(h, folio);
}

// Follows __update_and_free_hugetlb_folio(). Upstream leaves optimized pages to
// a work item where it must not sleep; here nobody lets go of a page while a
// spinlock is held, so it is as if that ran at once. A page with a
// memory error never gets here: somebody keeps a reference to it.
void UpdateAndFreeHugetlbFolio(struct hstate* h, struct folio* folio) {
  if (folio_test_hugetlb_raw_hwp_unreliable(folio)) return;
  if (VmemmapRestoreFolio(h, folio)) {
    spin_lock_irq(&hugetlb_lock);
    AddHugetlbFolio(h, folio, true);
    spin_unlock_irq(&hugetlb_lock);
    return;
  }
  if (folio_test_hugetlb(folio)) {
    spin_lock_irq(&hugetlb_lock);
    __folio_clear_hugetlb(folio);
    spin_unlock_irq(&hugetlb_lock);
  }
  if (folio_test_hwpoison(folio)) ClearHugetlbHwpoison(folio);
  VM_BUG_ON_FOLIO(folio_ref_count(folio), folio);
  const bool cma = folio_test_hugetlb_cma(folio);
  folio->private_ = nullptr;  // the HPG flags
  folio->mapping = nullptr;
  if (cma) {
    HugetlbCmaFreeFolio(folio);
  } else {
    free_frozen_pages(folio_page(folio, 0), folio_order(folio));
  }
}

// Follows update_and_free_pages_bulk().
void UpdateAndFreePagesBulk(struct hstate* h, struct list_head* list) {
  while (!list_empty(list)) {
    struct folio* folio = list_first_entry(list, struct folio, lru);
    list_del(&folio->lru);
    UpdateAndFreeHugetlbFolio(h, folio);
    cond_resched();
  }
}

}  // namespace sim

using sim::AccountNewHugetlbFolio;
using sim::EnqueueHugetlbFolio;
using sim::ReplaceFreeFolio;
using sim::UpdateAndFreeHugetlbFolio;

extern "C" {

struct hstate* size_to_hstate(unsigned long size) {
  struct hstate* h;
  for_each_hstate(h) {
    if (huge_page_size(h) == size) return h;
  }
  return nullptr;
}

// Follows init_new_hugetlb_folio().
void init_new_hugetlb_folio(struct folio* folio) {
  __folio_set_hugetlb(folio);
  INIT_LIST_HEAD(&folio->lru);
  hugetlb_set_folio_subpool(folio, nullptr);
  set_hugetlb_cgroup(folio, nullptr);
  set_hugetlb_cgroup_rsvd(folio, nullptr);
}

// Follows prep_and_add_allocated_folios().
void prep_and_add_allocated_folios(struct hstate* h,
                                   struct list_head* folio_list) {
  sim::VmemmapOptimizeFolios(h, folio_list);
  spin_lock_irq(&hugetlb_lock);
  struct folio *folio, *next;
  list_for_each_entry_safe(folio, next, folio_list, lru) {
    AccountNewHugetlbFolio(h, folio);
    EnqueueHugetlbFolio(h, folio);
  }
  spin_unlock_irq(&hugetlb_lock);
}

// Follows remove_hugetlb_folio().
void remove_hugetlb_folio(struct hstate* h, struct folio* folio,
                          bool adjust_surplus) {
  const int nid = folio_nid(folio);
  VM_BUG_ON_FOLIO(hugetlb_cgroup_from_folio(folio), folio);
  VM_BUG_ON_FOLIO(hugetlb_cgroup_from_folio_rsvd(folio), folio);
  lockdep_assert_held(&hugetlb_lock);
  list_del(&folio->lru);
  if (folio_test_hugetlb_freed(folio)) {
    folio_clear_hugetlb_freed(folio);
    h->free_huge_pages--;
    h->free_huge_pages_node[nid]--;
  }
  if (adjust_surplus) {
    h->surplus_huge_pages--;
    h->surplus_huge_pages_node[nid]--;
  }
  // Else when its page structures are there again.
  if (!folio_test_hugetlb_vmemmap_optimized(folio))
    __folio_clear_hugetlb(folio);
  h->nr_huge_pages--;
  h->nr_huge_pages_node[nid]--;
}

// Follows free_huge_folio(): back to the pool, or to the page allocator when
// the page is temporary or its node has surplus pages. Called with no
// reference left.
void free_huge_folio(struct folio* folio) {
  struct hstate* h = folio_hstate(folio);
  const int nid = folio_nid(folio);
  struct hugepage_subpool* spool = folio->_hugetlb_subpool;

  VM_BUG_ON_FOLIO(folio_ref_count(folio), folio);
  VM_BUG_ON_FOLIO(folio_mapcount(folio), folio);

  hugetlb_set_folio_subpool(folio, nullptr);
  folio->mapping = nullptr;
  bool restore = folio_test_hugetlb_restore_reserve(folio);
  folio_clear_hugetlb_restore_reserve(folio);
  if (!restore && sim::SubpoolPutPages(spool, 1) == 0) restore = true;

  const unsigned long flags = sim_spin_lock_irqsave(&hugetlb_lock);
  folio_clear_hugetlb_migratable(folio);
  hugetlb_cgroup_uncharge_folio(hstate_index(h), pages_per_huge_page(h), folio);
  hugetlb_cgroup_uncharge_folio_rsvd(hstate_index(h), pages_per_huge_page(h),
                                     folio);
  lruvec_stat_mod_folio(folio, NR_HUGETLB,
                        -static_cast<int>(pages_per_huge_page(h)));
  mem_cgroup_uncharge(folio);
  if (restore) h->resv_huge_pages++;

  const bool temporary = folio_test_hugetlb_temporary(folio);
  if (temporary || h->surplus_huge_pages_node[nid]) {
    remove_hugetlb_folio(h, folio, !temporary);
    // As in Linux: the page that was promised again is the one that goes.
    if (restore && h->resv_huge_pages > h->free_huge_pages)
      sim::HugetlbReserveWentOff();
    spin_unlock_irqrestore(&hugetlb_lock, flags);
    UpdateAndFreeHugetlbFolio(h, folio);
  } else {
    EnqueueHugetlbFolio(h, folio);
    spin_unlock_irqrestore(&hugetlb_lock, flags);
  }
}

// Follows folio_isolate_hugetlb().
bool folio_isolate_hugetlb(struct folio* folio, struct list_head* list) {
  spin_lock_irq(&hugetlb_lock);
  const bool ok = folio_test_hugetlb(folio) &&
                  folio_test_hugetlb_migratable(folio) && folio_try_get(folio);
  if (ok) {
    folio_clear_hugetlb_migratable(folio);
    list_move_tail(&folio->lru, list);
  }
  spin_unlock_irq(&hugetlb_lock);
  return ok;
}

// Follows folio_putback_hugetlb().
void folio_putback_hugetlb(struct folio* folio) {
  spin_lock_irq(&hugetlb_lock);
  folio_set_hugetlb_migratable(folio);
  list_move_tail(&folio->lru, &folio_hstate(folio)->hugepage_activelist);
  spin_unlock_irq(&hugetlb_lock);
  folio_put(folio);
}

// Follows isolate_or_dissolve_huge_folio().
int isolate_or_dissolve_huge_folio(struct folio* folio,
                                   struct list_head* list) {
  if (!folio_test_hugetlb(folio)) return 0;
  if (order_is_gigantic(folio_order(folio))) return -ENOMEM;
  if (folio_ref_count(folio) && folio_isolate_hugetlb(folio, list)) return 0;
  if (!folio_ref_count(folio)) return ReplaceFreeFolio(folio, list);
  return -EBUSY;
}

// Follows replace_free_hugepage_folios(): every free huge page in the range
// makes way for a fresh one elsewhere.
int replace_free_hugepage_folios(unsigned long start_pfn,
                                 unsigned long end_pfn) {
  struct list_head list;
  INIT_LIST_HEAD(&list);
  while (start_pfn < end_pfn) {
    auto* folio = reinterpret_cast<struct folio*>(sim::CompoundHead(start_pfn));
    unsigned long nr = 1;
    if (folio_test_hugetlb(folio) || folio_test_large(folio)) {
      nr = folio_nr_pages(folio) - (start_pfn - folio_pfn(folio));
      if (folio_test_hugetlb(folio) && !folio_ref_count(folio)) {
        if (order_is_gigantic(folio_order(folio))) return -ENOMEM;
        const int ret = ReplaceFreeFolio(folio, &list);
        if (ret) return ret;
        while (!list_empty(&list)) {
          struct folio* isolated = list_first_entry(&list, struct folio, lru);
          folio_putback_hugetlb(isolated);
        }
      }
    }
    start_pfn += nr;
  }
  return 0;
}

// Follows dissolve_free_hugetlb_folio().
int dissolve_free_hugetlb_folio(struct folio* folio) {
  for (;;) {
    if (!folio_test_hugetlb(folio)) return 0;
    spin_lock_irq(&hugetlb_lock);
    if (!folio_test_hugetlb(folio)) {
      spin_unlock_irq(&hugetlb_lock);
      return 0;
    }
    if (folio_ref_count(folio) || !sim::AvailableHugePages(folio_hstate(folio)))
      break;
    struct hstate* h = folio_hstate(folio);
    if (!folio_test_hugetlb_freed(folio)) {
      spin_unlock_irq(&hugetlb_lock);
      cond_resched();
      continue;
    }
    const bool surplus = h->surplus_huge_pages_node[folio_nid(folio)] > 0;
    remove_hugetlb_folio(h, folio, surplus);
    if (!surplus) h->max_huge_pages--;
    spin_unlock_irq(&hugetlb_lock);
    const int ret = sim::VmemmapRestoreFolio(h, folio);
    if (ret) {
      spin_lock_irq(&hugetlb_lock);
      sim::AddHugetlbFolio(h, folio, surplus);
      if (!surplus) h->max_huge_pages++;
      spin_unlock_irq(&hugetlb_lock);
      return ret;
    }
    UpdateAndFreeHugetlbFolio(h, folio);
    return 0;
  }
  spin_unlock_irq(&hugetlb_lock);
  return -EBUSY;
}

// Follows dissolve_free_hugetlb_folios().
int dissolve_free_hugetlb_folios(unsigned long start_pfn,
                                 unsigned long end_pfn) {
  unsigned order = huge_page_order(&default_hstate);
  struct hstate* h;
  for_each_hstate(h) {
    if (huge_page_order(h) < order) order = huge_page_order(h);
  }
  for (unsigned long pfn = start_pfn; pfn < end_pfn; pfn += 1UL << order) {
    const int ret = dissolve_free_hugetlb_folio(
        reinterpret_cast<struct folio*>(sim::CompoundHead(pfn)));
    if (ret) return ret;
  }
  return 0;
}

// Follows wait_for_freed_hugetlb_folios(): nothing is ever deferred here.
void wait_for_freed_hugetlb_folios(void) {}

// Follows move_hugetlb_state(): the new page takes the old one's place, its
// temporary state goes to the old one, a surplus follows it to its node.
void move_hugetlb_state(struct folio* old_folio, struct folio* new_folio,
                        int reason) {
  (void)reason;
  struct hstate* h = folio_hstate(old_folio);
  hugetlb_cgroup_migrate(old_folio, new_folio);
  const int old_nid = folio_nid(old_folio);
  const int new_nid = folio_nid(new_folio);
  if (folio_test_hugetlb_temporary(new_folio)) {
    folio_set_hugetlb_temporary(old_folio);
    folio_clear_hugetlb_temporary(new_folio);
    if (new_nid != old_nid) {
      spin_lock_irq(&hugetlb_lock);
      if (h->surplus_huge_pages_node[old_nid]) {
        h->surplus_huge_pages_node[old_nid]--;
        h->surplus_huge_pages_node[new_nid]++;
      }
      spin_unlock_irq(&hugetlb_lock);
    }
  }
  spin_lock_irq(&hugetlb_lock);
  folio_set_hugetlb_migratable(new_folio);
  list_move_tail(&new_folio->lru,
                 &folio_hstate(new_folio)->hugepage_activelist);
  spin_unlock_irq(&hugetlb_lock);
}

}  // extern "C"
