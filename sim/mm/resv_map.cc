// SPDX-License-Identifier: BSD-3-Clause
//
// Reservation maps of mm/hugetlb.c: which huge pages of a file have a
// reservation (shared), or have used up theirs (private), and who is charged
// for it (shared).

#include <climits>

#include "sim/machine/machine.h"
#include "sim/mm/hugetlb.h"

namespace sim {
namespace {

struct file_region* FirstOf(struct list_head* list) {
  return list_first_entry(list, struct file_region, link);
}

// get_file_region_entry_from_cache().
struct file_region* TakeFromCache(struct resv_map* resv) {
  VM_BUG_ON(resv->region_cache_count <= 0);
  struct file_region* entry = FirstOf(&resv->region_cache);
  resv->region_cache_count--;
  list_del(&entry->link);
  return entry;
}

// put_uncharge_info() and the end of the region.
void FreeRegion(struct file_region* region) {
  list_del(&region->link);
  if (region->css) css_put(region->css);
  kfree(region);
}

// has_same_uncharge_info()
bool SamePayer(const struct file_region* a, const struct file_region* b) {
  return a->reservation_counter == b->reservation_counter && a->css == b->css;
}

// coalesce_file_region(): joins a new region with its neighbours.
void Coalesce(struct resv_map* resv, struct file_region* region) {
  struct file_region* before = list_prev_entry(region, link);
  if (!list_entry_is_head(before, &resv->regions, link) &&
      before->to == region->from && SamePayer(before, region)) {
    before->to = region->to;
    FreeRegion(region);
    region = before;
  }
  struct file_region* after = list_next_entry(region, link);
  if (!list_entry_is_head(after, &resv->regions, link) &&
      after->from == region->to && SamePayer(after, region)) {
    after->from = region->from;
    FreeRegion(region);
  }
}

// record_hugetlb_cgroup_uncharge_info(): one reference for each region.
void Record(struct hugetlb_cgroup* h_cg, struct hstate* h,
            struct resv_map* resv, struct file_region* region) {
  region->reservation_counter = nullptr;
  region->css = nullptr;
  if (!h_cg) return;
  region->reservation_counter = &h_cg->rsvd_hugepage[hstate_index(h)];
  region->css = &h_cg->css;
  css_get(&h_cg->css);
  if (!resv->pages_per_hpage) resv->pages_per_hpage = pages_per_huge_page(h);
  VM_BUG_ON(resv->pages_per_hpage != pages_per_huge_page(h));
}

// hugetlb_resv_map_add(): one gap of the range; counted or filled.
long AddGap(struct resv_map* resv, struct list_head* after, long from, long to,
            struct hstate* h, struct hugetlb_cgroup* h_cg, long* needed) {
  if (needed) {
    ++*needed;
  } else {
    struct file_region* region = TakeFromCache(resv);
    region->from = from;
    region->to = to;
    Record(h_cg, h, resv, region);
    list_add(&region->link, after);
    Coalesce(resv, region);
  }
  return to - from;
}

// add_reservation_in_range(): how many pages of [f, t) the map lacks. With
// `needed` it counts the regions to be added, without it adds them.
long AddRange(struct resv_map* resv, long f, long t, struct hstate* h,
              struct hugetlb_cgroup* h_cg, long* needed) {
  long missing = 0;
  long covered_to = f;
  struct list_head* last = nullptr;

  if (needed) *needed = 0;
  struct file_region *region, *next;
  list_for_each_entry_safe(region, next, &resv->regions, link) {
    if (region->from < f) {
      if (region->to > covered_to) covered_to = region->to;
      continue;
    }
    if (region->from >= t) {
      last = region->link.prev;
      break;
    }
    // The region's end first: joining may free the region.
    const long end = region->to;
    if (region->from > covered_to) {
      missing += AddGap(resv, region->link.prev, covered_to, region->from, h,
                        h_cg, needed);
    }
    covered_to = end;
  }
  if (!last) last = resv->regions.prev;
  if (covered_to < t)
    missing += AddGap(resv, last, covered_to, t, h, h_cg, needed);
  return missing;
}

void Uncharge(struct resv_map* resv, struct file_region* region, long nr,
              bool whole) {
  hugetlb_cgroup_uncharge_file_region(resv, region,
                                      static_cast<unsigned long>(nr), whole);
}

// allocate_file_region_entries(): fills the cache up for the additions under
// way and `needed` more. Drops the lock to allocate; on failure it stays
// dropped.
int FillCache(struct resv_map* resv, long needed) {
  VM_BUG_ON(needed < 0);
  while (resv->region_cache_count < resv->adds_in_progress + needed) {
    const long nr = resv->adds_in_progress + needed - resv->region_cache_count;
    struct list_head fresh;
    INIT_LIST_HEAD(&fresh);

    VM_BUG_ON(resv->region_cache_count < resv->adds_in_progress);
    spin_unlock(&resv->lock);
    for (long i = 0; i < nr; i++) {
      auto* entry = static_cast<struct file_region*>(
          kmalloc(sizeof(struct file_region), GFP_KERNEL));
      if (!entry) {
        while (!list_empty(&fresh)) {
          entry = FirstOf(&fresh);
          list_del(&entry->link);
          kfree(entry);
        }
        return -ENOMEM;
      }
      list_add(&entry->link, &fresh);
    }
    spin_lock(&resv->lock);
    list_splice_init(&fresh, &resv->region_cache);
    resv->region_cache_count += nr;
  }
  return 0;
}

}  // namespace
}  // namespace sim

using sim::AddRange;
using sim::FailKind;
using sim::FillCache;
using sim::FirstOf;
using sim::M;
using sim::TakeFromCache;
using sim::Uncharge;

extern "C" {

// Follows region_chg(): pages of [f, t) without a region, and entries in the
// cache for a region_add() to come, at least one.
long region_chg(struct resv_map* resv, long f, long t,
                long* out_regions_needed) {
  spin_lock(&resv->lock);
  const long chg = AddRange(resv, f, t, nullptr, nullptr, out_regions_needed);
  if (*out_regions_needed == 0) *out_regions_needed = 1;
  if (FillCache(resv, *out_regions_needed)) return -ENOMEM;
  resv->adds_in_progress += *out_regions_needed;
  spin_unlock(&resv->lock);
  return chg;
}

// Follows region_add(); the map may have changed since region_chg(), so that
// more entries are needed (never for one page).
long region_add(struct resv_map* resv, long f, long t, long in_regions_needed,
                struct hstate* h, struct hugetlb_cgroup* h_cg) {
  if (t - f > 1 && M().Fails(FailKind::kRace, "region_add")) return -ENOMEM;
  spin_lock(&resv->lock);
  for (;;) {
    long actual;
    AddRange(resv, f, t, nullptr, nullptr, &actual);
    const long extra = actual - in_regions_needed;
    if (extra <= 0 ||
        resv->region_cache_count >= resv->adds_in_progress + extra) {
      break;
    }
    VM_BUG_ON(t - f <= 1);
    if (FillCache(resv, extra)) return -ENOMEM;
  }
  const long add = AddRange(resv, f, t, h, h_cg, nullptr);
  resv->adds_in_progress -= in_regions_needed;
  spin_unlock(&resv->lock);
  return add;
}

// Follows region_abort().
void region_abort(struct resv_map* resv, long f, long t, long regions_needed) {
  (void)f;
  (void)t;
  spin_lock(&resv->lock);
  VM_BUG_ON(!resv->region_cache_count);
  resv->adds_in_progress -= regions_needed;
  spin_unlock(&resv->lock);
}

// Follows region_del(): takes [f, t) out; splitting a region may need memory
// (not with t == LONG_MAX).
long region_del(struct resv_map* resv, long f, long t) {
  struct file_region* spare = nullptr;
  long del = 0;

retry:
  spin_lock(&resv->lock);
  struct file_region *region, *next;
  list_for_each_entry_safe(region, next, &resv->regions, link) {
    const bool empty_at_start = region->from == region->to && region->to == f;
    if (region->to <= f && !empty_at_start) continue;
    if (region->from >= t) break;

    if (region->from < f && region->to > t) {
      if (!spare && resv->region_cache_count > resv->adds_in_progress)
        spare = TakeFromCache(resv);
      if (!spare) {
        spin_unlock(&resv->lock);
        spare = static_cast<struct file_region*>(
            kmalloc(sizeof(struct file_region), GFP_KERNEL));
        if (!spare) return -ENOMEM;
        goto retry;
      }
      del += t - f;
      Uncharge(resv, region, t - f, false);
      spare->from = t;
      spare->to = region->to;
      // copy_hugetlb_cgroup_uncharge_info()
      spare->reservation_counter = region->reservation_counter;
      spare->css = region->css;
      if (spare->css) css_get(spare->css);
      region->to = f;
      list_add(&spare->link, &region->link);
      spare = nullptr;
      break;
    }
    if (region->from >= f && region->to <= t) {
      del += region->to - region->from;
      Uncharge(resv, region, region->to - region->from, true);
      list_del(&region->link);
      kfree(region);
    } else if (region->from >= f) {
      del += t - region->from;
      Uncharge(resv, region, t - region->from, false);
      region->from = t;
    } else {
      del += region->to - f;
      Uncharge(resv, region, region->to - f, false);
      region->to = f;
    }
  }
  spin_unlock(&resv->lock);
  kfree(spare);
  return del;
}

// Follows region_count().
long region_count(struct resv_map* resv, long f, long t) {
  long count = 0;
  spin_lock(&resv->lock);
  struct file_region* region;
  list_for_each_entry(region, &resv->regions, link) {
    if (region->to <= f) continue;
    if (region->from >= t) break;
    const long from = region->from > f ? region->from : f;
    const long to = region->to < t ? region->to : t;
    count += to - from;
  }
  spin_unlock(&resv->lock);
  return count;
}

// Follows resv_map_alloc().
struct resv_map* resv_map_alloc(void) {
  auto* resv = static_cast<struct resv_map*>(
      kmalloc(sizeof(struct resv_map), GFP_KERNEL));
  auto* entry = static_cast<struct file_region*>(
      kmalloc(sizeof(struct file_region), GFP_KERNEL));
  if (!resv || !entry) {
    kfree(resv);
    kfree(entry);
    return nullptr;
  }
  kref_init(&resv->refs);
  sim_spin_lock_init(&resv->lock, "resv_map->lock");
  sim_init_rwsem(&resv->rw_sema, "resv_map->rw_sema");
  INIT_LIST_HEAD(&resv->regions);
  INIT_LIST_HEAD(&resv->region_cache);
  resv->adds_in_progress = 0;
  resv->reservation_counter = nullptr;
  resv->pages_per_hpage = 0;
  resv->css = nullptr;
  list_add(&entry->link, &resv->region_cache);
  resv->region_cache_count = 1;
  return resv;
}

// Follows resv_map_release().
void resv_map_release(struct kref* ref) {
  struct resv_map* resv = container_of(ref, struct resv_map, refs);
  region_del(resv, 0, LONG_MAX);
  while (!list_empty(&resv->region_cache)) {
    struct file_region* entry = FirstOf(&resv->region_cache);
    list_del(&entry->link);
    kfree(entry);
  }
  VM_BUG_ON(resv->adds_in_progress);
  kfree(resv);
}

}  // extern "C"
