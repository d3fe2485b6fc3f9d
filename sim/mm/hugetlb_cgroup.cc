// SPDX-License-Identifier: BSD-3-Clause
//
// Who is charged: the hugetlb controller of mm/hugetlb_cgroup.c, and what
// mm/memcontrol.c does for huge pages with memory_hugetlb_accounting. Left out:
// events, counts by node, reclaim, the OOM killer.

#include <string>

#include "sim/machine/actors.h"
#include "sim/mm/boot.h"
#include "sim/mm/cgroup_internal.h"

namespace sim {
namespace {

// Where the removal of a group waits for those who charge it and have not yet
// said which page it is for. Linux goes round in a loop.
struct wait_queue_head offline_wait;

// cgroup_disable= on the command line.
bool hugetlb_disabled, memory_disabled;

struct page_counter* CounterOf(struct hugetlb_cgroup* h_cg, int idx,
                               bool rsvd) {
  return rsvd ? &h_cg->rsvd_hugepage[idx] : &h_cg->hugepage[idx];
}

struct hugetlb_cgroup* OfFolio(struct folio* folio, bool rsvd) {
  return rsvd ? hugetlb_cgroup_from_folio_rsvd(folio)
              : hugetlb_cgroup_from_folio(folio);
}

void SetOfFolio(struct folio* folio, struct hugetlb_cgroup* h_cg, bool rsvd) {
  if (rsvd)
    set_hugetlb_cgroup_rsvd(folio, h_cg);
  else
    set_hugetlb_cgroup(folio, h_cg);
}

void WakeOffline() {
  if (offline_wait.waiters) WakeAll(&offline_wait);
}

// hugetlb_cgroup_have_usage()
bool HaveUsage(const struct hugetlb_cgroup* h_cg) {
  for (int i = 0; i < hugetlb_max_hstate; ++i)
    if (h_cg->hugepage[i].usage) return true;
  return false;
}

// hugetlb_cgroup_move_parent()
void MoveParent(int idx, struct hugetlb_cgroup* h_cg, struct folio* folio) {
  if (hugetlb_cgroup_from_folio(folio) != h_cg) return;
  page_counter_cancel(&h_cg->hugepage[idx], folio_nr_pages(folio));
  set_hugetlb_cgroup(
      folio, container_of(h_cg->css.parent, struct hugetlb_cgroup, css));
}

// __hugetlb_cgroup_charge_cgroup()
int ChargeCurrent(int idx, unsigned long nr_pages, struct hugetlb_cgroup** ptr,
                  bool rsvd) {
  *ptr = nullptr;
  if (hugetlb_disabled) return 0;
  struct cgroup_subsys_state* css =
      task_get_css(sim_current(), hugetlb_cgrp_id);
  *ptr = container_of(css, struct hugetlb_cgroup, css);
  const int ret = hugetlb_cgroup_try_charge(idx, nr_pages, *ptr, rsvd);
  css_put(css);
  return ret;
}

// __hugetlb_cgroup_commit_charge(). The statistics by node, which is all that
// it needs idx and nr_pages for, are left out.
void Commit(int idx, unsigned long nr_pages, struct hugetlb_cgroup* h_cg,
            struct folio* folio, bool rsvd) {
  VM_BUG_ON_FOLIO(idx != hstate_index(folio_hstate(folio)), folio);
  VM_BUG_ON_FOLIO(nr_pages != folio_nr_pages(folio), folio);
  if (!h_cg) return;
  lockdep_assert_held(&hugetlb_lock);
  VM_BUG_ON_FOLIO(OfFolio(folio, rsvd), folio);
  SetOfFolio(folio, h_cg, rsvd);
  WakeOffline();
}

// __hugetlb_cgroup_uncharge_cgroup()
void UnchargeCgroup(int idx, unsigned long nr_pages,
                    struct hugetlb_cgroup* h_cg, bool rsvd) {
  if (!h_cg) return;
  page_counter_uncharge(CounterOf(h_cg, idx, rsvd), nr_pages);
  if (rsvd) css_put(&h_cg->css);
  WakeOffline();
}

// __hugetlb_cgroup_uncharge_folio()
void UnchargeFolio(int idx, unsigned long nr_pages, struct folio* folio,
                   bool rsvd) {
  lockdep_assert_held(&hugetlb_lock);
  struct hugetlb_cgroup* h_cg = OfFolio(folio, rsvd);
  SetOfFolio(folio, nullptr, rsvd);
  UnchargeCgroup(idx, nr_pages, h_cg, rsvd);
}

}  // namespace

// Follows cgroup_disable().
void HugetlbCgroupReset() {
  init_waitqueue_head(&offline_wait);
  hugetlb_disabled = memory_disabled = false;
  std::string list;
  for (int i = 0; CmdlineParam("cgroup_disable", i, &list); ++i) {
    list = "," + list + ",";
    hugetlb_disabled |= list.find(",hugetlb,") != std::string::npos;
    memory_disabled |= list.find(",memory,") != std::string::npos;
  }
}

// Follows hugetlb_cgroup_css_offline(). Reservations stay where they are.
void HugetlbCgroupCssOffline(struct hugetlb_cgroup* h_cg) {
  for (;;) {
    struct hstate* h;
    for_each_hstate(h) {
      spin_lock_irq(&hugetlb_lock);
      struct folio* folio;
      list_for_each_entry(folio, &h->hugepage_activelist, lru) {
        MoveParent(hstate_index(h), h_cg, folio);
      }
      spin_unlock_irq(&hugetlb_lock);
    }
    cond_resched();
    if (!HaveUsage(h_cg)) return;
    sim_wait(&offline_wait, false);
  }
}

// Follows memcg_reparent_objcgs(): the counters above have had all of it.
void MemCgroupCssOffline(struct mem_cgroup* memcg) {
  ReparentObjCgroups(memcg, mem_cgroup_from_css(memcg->css.parent));
}

}  // namespace sim

using sim::ChargeCurrent;
using sim::Commit;
using sim::UnchargeCgroup;
using sim::UnchargeFolio;

extern "C" {

bool hugetlb_cgroup_disabled(void) { return sim::hugetlb_disabled; }
bool mem_cgroup_disabled(void) { return sim::memory_disabled; }

int hugetlb_cgroup_try_charge(int idx, unsigned long nr_pages,
                              struct hugetlb_cgroup* h_cg, bool rsvd) {
  struct page_counter* fail;
  if (!page_counter_try_charge(sim::CounterOf(h_cg, idx, rsvd), nr_pages,
                               &fail)) {
    return -ENOMEM;
  }
  if (rsvd) css_get(&h_cg->css);
  return 0;
}

int hugetlb_cgroup_charge_cgroup(int idx, unsigned long nr_pages,
                                 struct hugetlb_cgroup** ptr) {
  return ChargeCurrent(idx, nr_pages, ptr, false);
}

int hugetlb_cgroup_charge_cgroup_rsvd(int idx, unsigned long nr_pages,
                                      struct hugetlb_cgroup** ptr) {
  return ChargeCurrent(idx, nr_pages, ptr, true);
}

void hugetlb_cgroup_commit_charge(int idx, unsigned long nr_pages,
                                  struct hugetlb_cgroup* h_cg,
                                  struct folio* folio) {
  Commit(idx, nr_pages, h_cg, folio, false);
}

void hugetlb_cgroup_commit_charge_rsvd(int idx, unsigned long nr_pages,
                                       struct hugetlb_cgroup* h_cg,
                                       struct folio* folio) {
  Commit(idx, nr_pages, h_cg, folio, true);
}

void hugetlb_cgroup_uncharge_folio(int idx, unsigned long nr_pages,
                                   struct folio* folio) {
  UnchargeFolio(idx, nr_pages, folio, false);
}

void hugetlb_cgroup_uncharge_folio_rsvd(int idx, unsigned long nr_pages,
                                        struct folio* folio) {
  UnchargeFolio(idx, nr_pages, folio, true);
}

void hugetlb_cgroup_uncharge_cgroup(int idx, unsigned long nr_pages,
                                    struct hugetlb_cgroup* h_cg) {
  UnchargeCgroup(idx, nr_pages, h_cg, false);
}

void hugetlb_cgroup_uncharge_cgroup_rsvd(int idx, unsigned long nr_pages,
                                         struct hugetlb_cgroup* h_cg) {
  UnchargeCgroup(idx, nr_pages, h_cg, true);
}

// Follows hugetlb_cgroup_uncharge_counter(): a private mapping goes.
void hugetlb_cgroup_uncharge_counter(struct resv_map* resv, unsigned long start,
                                     unsigned long end) {
  if (!resv || !resv->reservation_counter || !resv->css) return;
  page_counter_uncharge(resv->reservation_counter,
                        (end - start) * resv->pages_per_hpage);
  css_put(resv->css);
}

// Follows hugetlb_cgroup_uncharge_file_region().
void hugetlb_cgroup_uncharge_file_region(struct resv_map* resv,
                                         struct file_region* rg,
                                         unsigned long nr_pages,
                                         bool region_del) {
  if (!nr_pages || !rg->reservation_counter || !resv->pages_per_hpage ||
      resv->reservation_counter) {
    return;
  }
  page_counter_uncharge(rg->reservation_counter,
                        nr_pages * resv->pages_per_hpage);
  if (region_del) css_put(rg->css);
}

// Follows hugetlb_cgroup_migrate().
void hugetlb_cgroup_migrate(struct folio* old_folio, struct folio* new_folio) {
  spin_lock_irq(&hugetlb_lock);
  struct hugetlb_cgroup* h_cg = hugetlb_cgroup_from_folio(old_folio);
  struct hugetlb_cgroup* rsvd = hugetlb_cgroup_from_folio_rsvd(old_folio);
  set_hugetlb_cgroup(old_folio, nullptr);
  set_hugetlb_cgroup_rsvd(old_folio, nullptr);
  set_hugetlb_cgroup(new_folio, h_cg);
  set_hugetlb_cgroup_rsvd(new_folio, rsvd);
  list_move(&new_folio->lru, &folio_hstate(new_folio)->hugepage_activelist);
  spin_unlock_irq(&hugetlb_lock);
}

// Follows mem_cgroup_charge_hugetlb() and charge_memcg(). What the root has is
// not counted. The memory belongs to the group of who runs, unless the caller
// has set another one active, which only counts without an mm.
int mem_cgroup_charge_hugetlb(struct folio* folio, struct mm_struct* mm,
                              gfp_t gfp) {
  // Memory is made free for it, but nobody is killed.
  VM_BUG_ON_FOLIO(!(gfp & __GFP_DIRECT_RECLAIM), folio);
  VM_BUG_ON_FOLIO(!(gfp & __GFP_RETRY_MAYFAIL), folio);
  if (sim::memory_disabled) return 0;
  struct task_struct* task = sim_current();
  struct cgroup_subsys_state* css;
  if (!mm && task->active_memcg) {
    css = &task->active_memcg->css;
    css_get(css);
  } else {
    css = task_get_css(task, memory_cgrp_id);
  }
  struct mem_cgroup* memcg = mem_cgroup_from_css(css);
  struct obj_cgroup* objcg = sim::ObjCgroupOf(memcg);
  struct page_counter* fail;
  int ret = 0;
  VM_BUG_ON_FOLIO(folio->objcg, folio);
  if (css->parent &&
      !page_counter_try_charge(&memcg->memory, folio_nr_pages(folio), &fail)) {
    ret = -ENOMEM;
  } else {
    objcg->sim_refs++;
    folio->objcg = objcg;
  }
  css_put(css);
  return ret;
}

// Follows mem_cgroup_uncharge().
void mem_cgroup_uncharge(struct folio* folio) {
  struct obj_cgroup* objcg = folio->objcg;
  if (!objcg) return;
  folio->objcg = nullptr;
  if (objcg != sim::ObjCgroupOf(objcg->memcg) || objcg->memcg->css.parent) {
    // Also where it was reparented to the root: its counter has had it.
    page_counter_uncharge(&objcg->memcg->memory, folio_nr_pages(folio));
  }
  sim::ObjCgroupPut(objcg);
}

// Follows mem_cgroup_migrate().
void mem_cgroup_migrate(struct folio* from, struct folio* to) {
  to->objcg = from->objcg;
  from->objcg = nullptr;
}

}  // extern "C"
