// SPDX-License-Identifier: BSD-3-Clause
//
// Subpools of mm/hugetlb.c: what mounts with size= and min_size= have. Internal
// mounts have none, these calls are passed nullptr for them.

#include <algorithm>
#include <vector>

#include "sim/mm/hugetlb.h"

namespace sim {
namespace {

std::vector<struct hugepage_subpool*> live;  // of this kernel

// unlock_or_release_subpool().
void UnlockOrRelease(struct hugepage_subpool* spool) {
  bool unused = !spool->count;
  if (unused && spool->max_hpages != -1)
    unused = !spool->used_hpages;
  else if (unused && spool->min_hpages != -1)
    unused = spool->rsv_hpages == spool->min_hpages;
  spin_unlock_irqrestore(&spool->lock, 0);
  if (!unused) return;
  if (spool->min_hpages != -1)
    hugetlb_acct_memory(spool->hstate, -spool->min_hpages);
  live.erase(std::find(live.begin(), live.end(), spool));
  kfree(spool);
}

}  // namespace

void SubpoolReset() { live.clear(); }

// Follows hugepage_new_subpool().
struct hugepage_subpool* SubpoolNew(struct hstate* h, long most, long least) {
  auto* spool = static_cast<struct hugepage_subpool*>(
      kzalloc(sizeof(struct hugepage_subpool), GFP_KERNEL));
  if (!spool) return nullptr;
  sim_spin_lock_init(&spool->lock, "spool->lock");
  spool->count = 1;
  spool->max_hpages = most;
  spool->hstate = h;
  spool->min_hpages = least;
  if (least != -1 && hugetlb_acct_memory(h, least)) {
    kfree(spool);
    return nullptr;
  }
  spool->rsv_hpages = least;
  live.push_back(spool);
  return spool;
}

// Follows hugepage_put_subpool().
void SubpoolPut(struct hugepage_subpool* spool) {
  if (!spool) return;
  sim_spin_lock_irqsave(&spool->lock);
  BUG_ON(!spool->count);
  spool->count--;
  UnlockOrRelease(spool);
}

void SubpoolForgetStuck() {
  const std::vector<struct hugepage_subpool*> all = live;
  for (struct hugepage_subpool* spool : all) {
    if (spool->count) continue;
    if (spool->min_hpages != -1)
      hugetlb_acct_memory(spool->hstate, -spool->rsv_hpages);
    live.erase(std::find(live.begin(), live.end(), spool));
    kfree(spool);
  }
}

// Follows hugepage_subpool_get_pages(): by how much the global reservation
// has to grow for `delta` pages, or -ENOMEM.
long SubpoolGetPages(struct hugepage_subpool* spool, long delta) {
  if (!spool) return delta;
  long global = delta;
  spin_lock_irq(&spool->lock);
  if (spool->max_hpages != -1) {
    if (spool->used_hpages + delta > spool->max_hpages) {
      spin_unlock_irq(&spool->lock);
      return -ENOMEM;
    }
    spool->used_hpages += delta;
  }
  if (spool->min_hpages != -1) {
    const long own = delta < spool->rsv_hpages ? delta : spool->rsv_hpages;
    global -= own;
    spool->rsv_hpages -= own;
  }
  spin_unlock_irq(&spool->lock);
  return global;
}

// Follows hugepage_subpool_put_pages(): by how much the global reservation
// has to shrink.
long SubpoolPutPages(struct hugepage_subpool* spool, long delta) {
  if (!spool) return delta;
  long global = delta;
  sim_spin_lock_irqsave(&spool->lock);
  if (spool->max_hpages != -1) spool->used_hpages -= delta;
  if (spool->min_hpages != -1 && spool->used_hpages < spool->min_hpages) {
    const long sum = spool->rsv_hpages + delta;
    global = sum > spool->min_hpages ? sum - spool->min_hpages : 0;
    spool->rsv_hpages = sum < spool->min_hpages ? sum : spool->min_hpages;
  }
  UnlockOrRelease(spool);
  return global;
}

void SubpoolUnuse(struct hugepage_subpool* spool, long nr) {
  if (!spool || !nr) return;
  sim_spin_lock_irqsave(&spool->lock);
  if (spool->max_hpages != -1) spool->used_hpages -= nr;
  UnlockOrRelease(spool);
}

}  // namespace sim
