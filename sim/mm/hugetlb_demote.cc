// SPDX-License-Identifier: BSD-3-Clause
//
// Demotion of mm/hugetlb.c and mm/hugetlb_sysfs.c: free pages of a pool are
// split into pages of a smaller size. Left out: demote_size (the next smaller
// size is what a kernel starts with).

#include <algorithm>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_cma.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/hugetlb_vmemmap.h"

namespace sim {
namespace {

// demote_free_hugetlb_folios(). Those whose page structures cannot be had again
// stay on the list.
int DemoteFolios(struct hstate* src, struct hstate* dst,
                 struct list_head* list) {
  int ret = 0;
  struct list_head pieces;
  INIT_LIST_HEAD(&pieces);
  mutex_lock(&dst->resize_lock);
  struct folio *folio, *next;
  list_for_each_entry_safe(folio, next, list, lru) {
    if (!ret) ret = VmemmapRestoreFolio(src, folio);
    if (folio_test_hugetlb_vmemmap_optimized(folio)) continue;
    const bool cma = folio_test_hugetlb_cma(folio);
    list_del(&folio->lru);
    for (unsigned i = 0; i < pages_per_huge_page(src);
         i += pages_per_huge_page(dst)) {
      struct page* page = folio_page(folio, i);
      auto* piece = reinterpret_cast<struct folio*>(page);
      page->compound_head = 0;  // clear_compound_head()
      prep_compound_page(page, dst->order);
      piece->mapping = nullptr;
      init_new_hugetlb_folio(piece);
      if (cma) folio_set_hugetlb_cma(piece);
      list_add(&piece->lru, &pieces);
    }
    cond_resched();
  }
  prep_and_add_allocated_folios(dst, &pieces);
  mutex_unlock(&dst->resize_lock);
  return ret;
}

// demote_pool_huge_page(); hugetlb_lock is held, and dropped meanwhile.
long DemotePool(struct hstate* src, const nodemask_t* allowed,
                unsigned long wanted) {
  struct hstate* dst = size_to_hstate(PAGE_SIZE << src->demote_order);
  unsigned long demoted = 0;
  int ret = 0;
  lockdep_assert_held(&hugetlb_lock);
  for (int nr = nodes_weight(*allowed); nr > 0; nr--) {
    struct list_head* free_list =
        &src->hugepage_freelists[NextNodeToFree(src, allowed)];
    struct list_head list;
    INIT_LIST_HEAD(&list);
    struct folio *folio, *next;
    list_for_each_entry_safe(folio, next, free_list, lru) {
      if (folio_test_hwpoison(folio)) continue;
      remove_hugetlb_folio(src, folio, false);
      list_add(&folio->lru, &list);
      if (++demoted == wanted) break;
    }
    spin_unlock_irq(&hugetlb_lock);
    ret = DemoteFolios(src, dst, &list);
    spin_lock_irq(&hugetlb_lock);
    list_for_each_entry_safe(folio, next, &list, lru) {
      list_del(&folio->lru);
      AddHugetlbFolio(src, folio, false);
      demoted--;
    }
    if (ret < 0 || demoted == wanted) break;
  }
  src->max_huge_pages -= demoted;
  dst->max_huge_pages += demoted << (src->order - dst->order);
  if (ret < 0) return ret;
  return demoted ? static_cast<long>(demoted) : -EBUSY;
}

}  // namespace

// The part of hugetlb_init_hstates() about demotion.
void HugetlbSetDemoteOrder(struct hstate* h) {
  if (HugetlbCmaTotalSize() && h->order <= M().geometry().hpage_order) return;
  const struct hstate* other;
  for_each_hstate(other) {
    if (other->order < h->order && other->order > h->demote_order)
      h->demote_order = other->order;
  }
}

// Follows demote_store(). It only looks whether there is a page that nobody
// has reserved, and then demotes as many as it was asked for.
int NrDemoteStore(uint64_t page_size, uint64_t count, int nid) {
  struct hstate* h = size_to_hstate(page_size);
  if (!h || !h->demote_order || !NodeHasFiles(nid)) return -ENOENT;
  nodemask_t allowed = node_states[N_MEMORY];
  if (nid != NUMA_NO_NODE) {
    nodes_clear(allowed);
    node_set(nid, allowed);
  }

  int err = 0;
  mutex_lock(&h->resize_lock);
  spin_lock_irq(&hugetlb_lock);
  while (count) {
    const unsigned long free =
        nid == NUMA_NO_NODE ? h->free_huge_pages : h->free_huge_pages_node[nid];
    if (free == h->resv_huge_pages) break;
    const long demoted = DemotePool(h, &allowed, count);
    if (demoted < 0) {
      err = static_cast<int>(demoted);
      break;
    }
    count -= static_cast<uint64_t>(demoted);
  }
  if (h->resv_huge_pages > h->free_huge_pages) HugetlbReserveWentOff();
  spin_unlock_irq(&hugetlb_lock);
  mutex_unlock(&h->resize_lock);
  return err;
}

}  // namespace sim
