// SPDX-License-Identifier: BSD-3-Clause
//
// Resizing of a pool as mm/hugetlb.c does for sysfs.

#include <algorithm>
#include <climits>

#include "sim/machine/actors.h"
#include "sim/mm/hugetlb.h"

namespace sim {
namespace {

// adjust_pool_surplus(): turns a page of some node into surplus (1) or back
// (-1). False: there is none.
bool AdjustPoolSurplus(struct hstate* h, const nodemask_t* allowed, int delta) {
  lockdep_assert_held(&hugetlb_lock);
  for (int nr = nodes_weight(*allowed); nr > 0; nr--) {
    const int nid = delta < 0 ? NextNodeToAlloc(&h->next_nid_to_alloc, allowed)
                              : NextNodeToFree(h, allowed);
    const bool can = delta < 0 ? h->surplus_huge_pages_node[nid] > 0
                               : h->surplus_huge_pages_node[nid] <
                                     h->nr_huge_pages_node[nid];
    if (!can) continue;
    h->surplus_huge_pages += delta;
    h->surplus_huge_pages_node[nid] += delta;
    return true;
  }
  return false;
}

// The first half of set_max_huge_pages(): grows the pool to `count`. False
// when it could not, which ends the call. hugetlb_lock is held.
bool GrowPool(struct hstate* h, unsigned long count, const nodemask_t* allowed,
              nodemask_t* noretry) {
  struct list_head fresh;
  INIT_LIST_HEAD(&fresh);
  unsigned long allocated = 0;
  bool complete = true;

  while (h->surplus_huge_pages && count > PersistentHugePages(h)) {
    if (!AdjustPoolSurplus(h, allowed, -1)) break;
  }
  while (complete && count > PersistentHugePages(h) + allocated) {
    spin_unlock_irq(&hugetlb_lock);
    cond_resched();
    struct folio* folio =
        AllocPoolHugeFolio(h, allowed, noretry, &h->next_nid_to_alloc);
    if (folio) {
      list_add(&folio->lru, &fresh);
      allocated++;
    }
    complete = folio && !FatalSignalPending();
    spin_lock_irq(&hugetlb_lock);
  }
  if (!list_empty(&fresh)) {
    spin_unlock_irq(&hugetlb_lock);
    prep_and_add_allocated_folios(h, &fresh);
    spin_lock_irq(&hugetlb_lock);
  }
  return complete;
}

// The second half: frees what is free and not reserved, and makes the rest
// surplus, down to `count`. hugetlb_lock is held.
void ShrinkPool(struct hstate* h, unsigned long count,
                const nodemask_t* allowed) {
  struct list_head removed;
  INIT_LIST_HEAD(&removed);

  unsigned long persistent_free = h->free_huge_pages;
  if (h->free_huge_pages > PersistentHugePages(h)) {
    persistent_free = h->free_huge_pages > h->surplus_huge_pages
                          ? h->free_huge_pages - h->surplus_huge_pages
                          : 0;
  }
  const unsigned long needed =
      h->resv_huge_pages + PersistentHugePages(h) - persistent_free;
  const unsigned long min_count = std::max(count, needed);
  while (min_count < PersistentHugePages(h)) {
    struct folio* folio = RemovePoolHugetlbFolio(h, allowed, false);
    if (!folio) break;
    list_add(&folio->lru, &removed);
  }
  spin_unlock_irq(&hugetlb_lock);
  UpdateAndFreePagesBulk(h, &removed);
  spin_lock_irq(&hugetlb_lock);

  while (count < PersistentHugePages(h)) {
    if (!AdjustPoolSurplus(h, allowed, 1)) break;
  }
}

}  // namespace

// Follows __nr_hugepages_store_common() and set_max_huge_pages(). The memory
// policy variant (nr_hugepages_mempolicy) is left out.
int SetMaxHugePages(struct hstate* h, unsigned long count, int nid) {
  nodemask_t allowed = node_states[N_MEMORY];
  nodemask_t noretry;
  nodes_clear(noretry);
  if (nid != NUMA_NO_NODE) {
    nodes_clear(allowed);
    node_set(nid, allowed);
  }

  mutex_lock(&h->resize_lock);
  spin_lock_irq(&hugetlb_lock);
  if (nid != NUMA_NO_NODE) {
    const unsigned long asked = count;
    count += PersistentHugePages(h) -
             (h->nr_huge_pages_node[nid] - h->surplus_huge_pages_node[nid]);
    if (count < asked) count = ULONG_MAX;
  }
  if (GrowPool(h, count, &allowed, &noretry)) ShrinkPool(h, count, &allowed);
  h->max_huge_pages = PersistentHugePages(h);
  HugetlbForgetSkipped(h);
  spin_unlock_irq(&hugetlb_lock);
  mutex_unlock(&h->resize_lock);
  return 0;
}

}  // namespace sim
