// SPDX-License-Identifier: BSD-3-Clause
//
// Giving out huge pages as mm/hugetlb.c does: surplus pages, the global count
// of reservations, the reservation of a mapping, allocation on top of both.

#include "sim/machine/actors.h"
#include "sim/mm/buddy.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_vmemmap.h"

namespace sim {
namespace {

constexpr int kMaxTasks = 64;
nodemask_t task_bind[kMaxTasks];  // by actor; empty: no policy
bool reserve_is_off;

// allowed_mems_nr(): free pages on the nodes the task may take them from.
unsigned long AllowedMemsNr(const struct hstate* h) {
  const nodemask_t* bind = PolicyMbindNodemask();
  unsigned long nr = 0;
  int nid;
  for_each_node_mask(nid, node_states[N_MEMORY]) {
    if (!bind || node_isset(nid, *bind)) nr += h->free_huge_pages_node[nid];
  }
  return nr;
}

// Frees a surplus page that was never handed out. Upstream takes it off
// NR_HUGETLB, too, though it was never counted there; here it is counted first,
// so that the counter stays exact.
void FreeUnused(struct folio* folio) {
  lruvec_stat_mod_folio(folio, NR_HUGETLB, folio_nr_pages(folio));
  free_huge_folio(folio);
}

// gather_surplus_pages(): reserves `delta` pages, and grows the pool where the
// free ones do not suffice. hugetlb_lock is held, and dropped meanwhile.
int GatherSurplusPages(struct hstate* h, long delta) {
  const nodemask_t* bind = PolicyMbindNodemask();
  nodemask_t nodes = node_states[N_MEMORY];
  if (bind) nodes.bits[0] &= bind->bits[0];

  lockdep_assert_held(&hugetlb_lock);
  long needed = static_cast<long>(h->resv_huge_pages) + delta -
                static_cast<long>(h->free_huge_pages);
  if (needed <= 0) {
    h->resv_huge_pages += delta;
    return 0;
  }

  struct list_head fresh;
  INIT_LIST_HEAD(&fresh);
  long allocated = 0;
  bool alloc_ok = true;
  int ret = -ENOMEM;
  while (needed > 0 && alloc_ok) {
    spin_unlock_irq(&hugetlb_lock);
    for (long i = 0; i < needed; i++) {
      struct folio* folio =
          AllocSurplusHugetlbFolio(h, htlb_alloc_mask(h), NUMA_NO_NODE, &nodes);
      if (!folio) {
        alloc_ok = false;
        break;
      }
      list_add(&folio->lru, &fresh);
      allocated++;
      cond_resched();
    }
    spin_lock_irq(&hugetlb_lock);
    needed = static_cast<long>(h->resv_huge_pages) + delta -
             static_cast<long>(h->free_huge_pages) - allocated;
  }
  if (needed <= 0) {
    long to_pool = needed + allocated;
    h->resv_huge_pages += delta;
    ret = 0;
    while (to_pool-- > 0 && !list_empty(&fresh))
      EnqueueHugetlbFolio(h, list_first_entry(&fresh, struct folio, lru));
  }
  spin_unlock_irq(&hugetlb_lock);
  // Those that nobody needs any more; they are surplus, so they leave the list.
  struct folio *folio, *next;
  list_for_each_entry_safe(folio, next, &fresh, lru) { FreeUnused(folio); }
  spin_lock_irq(&hugetlb_lock);
  return ret;
}

// return_unused_surplus_pages().
void ReturnUnusedSurplusPages(struct hstate* h, unsigned long unused) {
  struct list_head list;
  INIT_LIST_HEAD(&list);
  lockdep_assert_held(&hugetlb_lock);
  h->resv_huge_pages -= unused;
  unsigned long nr =
      unused < h->surplus_huge_pages ? unused : h->surplus_huge_pages;
  while (nr--) {
    struct folio* folio =
        RemovePoolHugetlbFolio(h, &node_states[N_MEMORY], true);
    if (!folio) break;
    list_add(&folio->lru, &list);
  }
  spin_unlock_irq(&hugetlb_lock);
  UpdateAndFreePagesBulk(h, &list);
  spin_lock_irq(&hugetlb_lock);
}

// alloc_migrate_hugetlb_folio().
struct folio* AllocMigrateHugetlbFolio(struct hstate* h, gfp_t gfp, int nid,
                                       const nodemask_t* nodes) {
  if (hstate_is_gigantic(h)) return nullptr;
  struct folio* folio = AllocFreshHugetlbFolio(h, gfp, nid, nodes, nullptr);
  if (!folio) return nullptr;
  VmemmapOptimizeFolio(h, folio);
  spin_lock_irq(&hugetlb_lock);
  AccountNewHugetlbFolio(h, folio);
  spin_unlock_irq(&hugetlb_lock);
  atomic_set(&folio->_refcount, 1);
  folio_set_hugetlb_temporary(folio);
  return folio;
}

// hugetlb_alloc_folio(): from the pool, else as surplus.
struct folio* AllocFolio(struct hstate* h, struct mm_struct* mm,
                         bool charge_rsvd, bool use_reservation) {
  const gfp_t gfp = htlb_alloc_mask(h);
  const nodemask_t* nodes = PolicyMbindNodemask();
  const int nid = NumaNodeId();
  const int idx = hstate_index(h);
  const unsigned long nr_pages = pages_per_huge_page(h);
  struct hugetlb_cgroup* h_cg = nullptr;
  struct hugetlb_cgroup* h_cg_rsvd = nullptr;
  struct folio* folio = nullptr;

  if (charge_rsvd &&
      hugetlb_cgroup_charge_cgroup_rsvd(idx, nr_pages, &h_cg_rsvd))
    return static_cast<struct folio*>(ERR_PTR(-ENOSPC));
  if (hugetlb_cgroup_charge_cgroup(idx, nr_pages, &h_cg)) {
    hugetlb_cgroup_uncharge_cgroup_rsvd(idx, nr_pages, h_cg_rsvd);
    return static_cast<struct folio*>(ERR_PTR(-ENOSPC));
  }

  spin_lock_irq(&hugetlb_lock);
  if (use_reservation || AvailableHugePages(h))
    folio = DequeueHugetlbFolioNodemask(h, gfp, nid, nodes);
  if (!folio) {
    spin_unlock_irq(&hugetlb_lock);
    folio = AllocSurplusHugetlbFolio(h, gfp, nid, nodes);
    if (!folio) {
      hugetlb_cgroup_uncharge_cgroup(idx, nr_pages, h_cg);
      hugetlb_cgroup_uncharge_cgroup_rsvd(idx, nr_pages, h_cg_rsvd);
      return static_cast<struct folio*>(ERR_PTR(-ENOSPC));
    }
    spin_lock_irq(&hugetlb_lock);
    list_add(&folio->lru, &h->hugepage_activelist);
    atomic_set(&folio->_refcount, 1);
  }
  if (use_reservation) {
    folio_set_hugetlb_restore_reserve(folio);
    h->resv_huge_pages--;
  }
  hugetlb_cgroup_commit_charge(idx, nr_pages, h_cg, folio);
  hugetlb_cgroup_commit_charge_rsvd(idx, nr_pages, h_cg_rsvd, folio);
  spin_unlock_irq(&hugetlb_lock);
  const int ret =
      mem_cgroup_charge_hugetlb(folio, mm, gfp | __GFP_RETRY_MAYFAIL);
  lruvec_stat_mod_folio(folio, NR_HUGETLB,
                        static_cast<int>(pages_per_huge_page(h)));
  if (!ret) return folio;
  folio_put(folio);
  return static_cast<struct folio*>(ERR_PTR(-ENOSPC));
}

enum class ResvMode { kNeeds, kCommit, kEnd, kAdd, kDel };

// __vma_reservation_common(): one page of the mapping's reservation map. The
// map of a private mapping says which reservations were used up, so what it
// answers means the opposite.
long VmaReservation(struct hstate* h, struct vm_area_struct* vma,
                    unsigned long addr, ResvMode mode) {
  struct resv_map* resv = VmaResvMap(vma);
  if (!resv) return 1;

  const bool shared = vma->vm_flags & VM_MAYSHARE;
  const long idx = VmaHugecacheOffset(h, vma, addr);
  long ret = 0;
  long regions = 1;
  switch (mode) {
    case ResvMode::kNeeds:
      ret = region_chg(resv, idx, idx + 1, &regions);
      VM_BUG_ON(regions != 1);
      break;
    case ResvMode::kEnd:
      region_abort(resv, idx, idx + 1, 1);
      break;
    case ResvMode::kCommit:
    case ResvMode::kAdd:
    case ResvMode::kDel:
      if (mode == ResvMode::kCommit || (mode == ResvMode::kAdd) == shared) {
        ret = region_add(resv, idx, idx + 1, 1, nullptr, nullptr);
        VM_BUG_ON(ret < 0);
      } else {
        region_abort(resv, idx, idx + 1, 1);
        ret = region_del(resv, idx, idx + 1);
      }
      break;
  }
  if (shared || mode == ResvMode::kDel || ret < 0) return ret;
  return ret > 0 ? 0 : 1;
}

}  // namespace

void HugetlbAllocReset() {
  memset(static_cast<void*>(task_bind), 0, sizeof(task_bind));
  reserve_is_off = false;
}

bool HugetlbReserveIsOff() { return reserve_is_off; }
void HugetlbReserveWentOff() { reserve_is_off = true; }

void SetTaskBind(int actor, int nid) {
  BUG_ON(actor < 0 || actor >= kMaxTasks);
  nodes_clear(task_bind[actor]);
  if (nid >= 0) node_set(nid, task_bind[actor]);
}

int TaskBind(int actor) {
  if (actor < 0 || actor >= kMaxTasks || nodes_empty(task_bind[actor]))
    return NUMA_NO_NODE;
  return first_node(task_bind[actor]);
}

// Follows policy_mbind_nodemask(), and policy_nodemask() for MPOL_BIND: a mask
// without any node that has memory does not count. Other policies and
// per-mapping policies are left out.
const nodemask_t* PolicyMbindNodemask() {
  const int actor = CurrentActor();
  if (actor < 0 || actor >= kMaxTasks) return nullptr;
  const nodemask_t* bind = &task_bind[actor];
  return bind->bits[0] & node_states[N_MEMORY].bits[0] ? bind : nullptr;
}

int NumaNodeId() { return LocalNode(); }

// Follows alloc_surplus_hugetlb_folio(); the page has no reference.
struct folio* AllocSurplusHugetlbFolio(struct hstate* h, gfp_t gfp, int nid,
                                       const nodemask_t* nodes) {
  spin_lock_irq(&hugetlb_lock);
  const bool full = h->surplus_huge_pages >= h->nr_overcommit_huge_pages;
  spin_unlock_irq(&hugetlb_lock);
  if (full) return nullptr;

  struct folio* folio = AllocFreshHugetlbFolio(h, gfp, nid, nodes, nullptr);
  if (!folio) return nullptr;
  VmemmapOptimizeFolio(h, folio);
  spin_lock_irq(&hugetlb_lock);
  AccountNewHugetlbFolio(h, folio);
  if (h->surplus_huge_pages >= h->nr_overcommit_huge_pages) {
    // Somebody else was faster: not wanted any more.
    folio_set_hugetlb_temporary(folio);
    spin_unlock_irq(&hugetlb_lock);
    FreeUnused(folio);
    return nullptr;
  }
  h->surplus_huge_pages++;
  h->surplus_huge_pages_node[folio_nid(folio)]++;
  spin_unlock_irq(&hugetlb_lock);
  return folio;
}

struct hstate* HstateVma(struct vm_area_struct* vma) {
  return hstate_file(vma->vm_file);
}

// Follows vma_hugecache_offset(): in huge pages of the file.
pgoff_t VmaHugecacheOffset(struct hstate* h, struct vm_area_struct* vma,
                           unsigned long addr) {
  return (((addr - vma->vm_start) >> PAGE_SHIFT) + vma->vm_pgoff) >>
         huge_page_order(h);
}

// Follows vma_resv_map().
struct resv_map* VmaResvMap(struct vm_area_struct* vma) {
  if (vma->vm_flags & VM_MAYSHARE)
    return HUGETLBFS_I(vma->vm_file->f_mapping->host)->resv_map;
  return reinterpret_cast<struct resv_map*>(
      reinterpret_cast<unsigned long>(vma->vm_private_data) & ~kResvMask);
}

long VmaNeedsReservation(struct hstate* h, struct vm_area_struct* vma,
                         unsigned long addr) {
  return VmaReservation(h, vma, addr, ResvMode::kNeeds);
}

void VmaEndReservation(struct hstate* h, struct vm_area_struct* vma,
                       unsigned long addr) {
  VmaReservation(h, vma, addr, ResvMode::kEnd);
}

long VmaAddReservation(struct hstate* h, struct vm_area_struct* vma,
                       unsigned long addr) {
  return VmaReservation(h, vma, addr, ResvMode::kAdd);
}

}  // namespace sim

using sim::DequeueHugetlbFolioNodemask;
using sim::ResvMode;
using sim::VmaReservation;

extern "C" {

// Follows hugetlb_acct_memory().
int hugetlb_acct_memory(struct hstate* h, long delta) {
  if (!delta) return 0;
  int ret = 0;
  spin_lock_irq(&hugetlb_lock);
  if (delta > 0) {
    ret = sim::GatherSurplusPages(h, delta);
    if (!ret && static_cast<unsigned long>(delta) > sim::AllowedMemsNr(h)) {
      sim::ReturnUnusedSurplusPages(h, delta);
      ret = -ENOMEM;
    }
  } else {
    sim::ReturnUnusedSurplusPages(h, -delta);
  }
  spin_unlock_irq(&hugetlb_lock);
  return ret;
}

// Follows alloc_hugetlb_folio_reserve().
struct folio* alloc_hugetlb_folio_reserve(struct hstate* h, int preferred_nid,
                                          nodemask_t* nmask, gfp_t gfp_mask) {
  struct folio* folio = nullptr;
  spin_lock_irq(&hugetlb_lock);
  if (h->resv_huge_pages) {
    folio = DequeueHugetlbFolioNodemask(h, gfp_mask, preferred_nid, nmask);
    if (folio) h->resv_huge_pages--;
  }
  spin_unlock_irq(&hugetlb_lock);
  if (folio) lruvec_stat_mod_folio(folio, NR_HUGETLB, folio_nr_pages(folio));
  return folio;
}

// Follows alloc_hugetlb_folio_nodemask(): the target of a migration.
struct folio* alloc_hugetlb_folio_nodemask(struct hstate* h, int preferred_nid,
                                           nodemask_t* nmask, gfp_t gfp_mask,
                                           bool allow_alloc_fallback) {
  struct folio* folio = nullptr;
  spin_lock_irq(&hugetlb_lock);
  if (sim::AvailableHugePages(h))
    folio = DequeueHugetlbFolioNodemask(h, gfp_mask, preferred_nid, nmask);
  spin_unlock_irq(&hugetlb_lock);
  if (!folio) {
    if (!allow_alloc_fallback) gfp_mask |= __GFP_THISNODE;
    folio = sim::AllocMigrateHugetlbFolio(h, gfp_mask, preferred_nid, nmask);
  }
  if (folio) lruvec_stat_mod_folio(folio, NR_HUGETLB, folio_nr_pages(folio));
  return folio;
}

// Follows alloc_hugetlb_folio(). MPOL_PREFERRED_MANY is left out.
struct folio* alloc_hugetlb_folio(struct vm_area_struct* vma,
                                  unsigned long addr, bool cow_from_owner) {
  struct hugepage_subpool* spool = subpool_inode(file_inode(vma->vm_file));
  struct hstate* h = sim::HstateVma(vma);
  enum { kReuse, kNeeded, kEnforced } map_chg = kEnforced;

  if (!cow_from_owner) {
    const long chg = sim::VmaNeedsReservation(h, vma, addr);
    if (chg < 0) return static_cast<struct folio*>(ERR_PTR(-ENOMEM));
    map_chg = chg ? kNeeded : kReuse;
  }

  long global_chg = 0;
  if (map_chg != kReuse) {
    global_chg = sim::SubpoolGetPages(spool, 1);
    if (global_chg < 0) {
      if (map_chg != kEnforced) sim::VmaEndReservation(h, vma, addr);
      return static_cast<struct folio*>(ERR_PTR(-ENOSPC));
    }
  }

  struct folio* folio =
      sim::AllocFolio(h, vma->vm_mm, map_chg != kReuse, global_chg == 0);
  if (IS_ERR(folio)) {
    if (map_chg != kReuse && !global_chg)
      hugetlb_acct_memory(h, -sim::SubpoolPutPages(spool, 1));
    if (map_chg != kEnforced) sim::VmaEndReservation(h, vma, addr);
    return folio;
  }
  hugetlb_set_folio_subpool(folio, spool);

  if (map_chg != kEnforced) {
    const long chg = VmaReservation(h, vma, addr, ResvMode::kCommit);
    // hugetlb_reserve_pages() came in between and reserved the same page.
    if (map_chg == kNeeded && chg == 0) {
      hugetlb_acct_memory(h, -sim::SubpoolPutPages(spool, 1));
      spin_lock_irq(&hugetlb_lock);
      hugetlb_cgroup_uncharge_folio_rsvd(hstate_index(h),
                                         pages_per_huge_page(h), folio);
      spin_unlock_irq(&hugetlb_lock);
    }
  }
  return folio;
}

// Follows restore_reserve_on_error(): the map and the page's flag are made to
// agree with what free_huge_folio() will do to the global count.
void restore_reserve_on_error(struct hstate* h, struct vm_area_struct* vma,
                              unsigned long address, struct folio* folio) {
  const long chg = sim::VmaNeedsReservation(h, vma, address);
  const bool shared = vma->vm_flags & VM_MAYSHARE;

  // Upstream takes it that there is no region where there was no memory to ask
  // for it: in a shared map it now promises a page that nothing is counted for,
  // in a private one it says that the promise which comes back was used.
  if (chg < 0 && (shared || !folio_test_hugetlb_restore_reserve(folio))) {
    const auto idx =
        static_cast<long>(sim::VmaHugecacheOffset(h, vma, address));
    if (region_count(sim::VmaResvMap(vma), idx, idx + 1) != 0)
      sim::HugetlbReserveWentOff();
  }
  if (folio_test_hugetlb_restore_reserve(folio)) {
    if (chg < 0)
      folio_clear_hugetlb_restore_reserve(folio);
    else if (chg)
      sim::VmaAddReservation(h, vma, address);
    else
      sim::VmaEndReservation(h, vma, address);
    return;
  }
  if (chg > 0) {
    sim::VmaEndReservation(h, vma, address);
  } else if (chg == 0) {
    if (VmaReservation(h, vma, address, ResvMode::kDel) < 0)
      folio_set_hugetlb_restore_reserve(folio);
  } else if (!shared) {
    folio_set_hugetlb_restore_reserve(folio);
  }
}

// Follows hugetlb_fix_reserve_counts(): a region could not be deleted, so the
// counters are made to fit it.
void hugetlb_fix_reserve_counts(struct inode* inode) {
  const long adjust = sim::SubpoolGetPages(subpool_inode(inode), 1);
  bool reserved = adjust == 0;
  if (adjust > 0) reserved = !hugetlb_acct_memory(hstate_inode(inode), 1);
  if (!reserved) {
    pr_warn("hugetlb: Huge Page Reserved count may go negative.\n");
    sim::HugetlbReserveWentOff();
  }
}

}  // extern "C"
