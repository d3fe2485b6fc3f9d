// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/folio.h"

#include "absl/strings/str_cat.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/memmap.h"

// References, locks and flags of folios: mm/swap.c, mm/filemap.c. Left out:
// LRU lists, device memory.

namespace sim {
namespace {

constexpr int kNodeStats = 1;
long node_stats[MAX_NUMNODES][kNodeStats];

void Bad(const struct folio* folio, const char* what) {
  M().Report("discipline",
             absl::StrCat("page frame ", folio_pfn(folio), ": ", what));
}

}  // namespace

void FolioReset() { memset(node_stats, 0, sizeof(node_stats)); }

long NodeStat(int nid, enum node_stat_item idx) { return node_stats[nid][idx]; }

}  // namespace sim

extern "C" {

void folio_get(struct folio* folio) {
  sim::Step("folio_get");
  sim_page_access(folio);
  if (folio->_refcount.counter <= 0) {
    sim::Bad(folio, "reference taken on a folio that has none");
    return;
  }
  ++folio->_refcount.counter;
}

bool folio_try_get(struct folio* folio) {
  sim::Step("folio_try_get");
  sim_page_access(folio);
  if (folio->_refcount.counter == 0) return false;
  ++folio->_refcount.counter;
  return true;
}

void folio_put(struct folio* folio) { folio_put_refs(folio, 1); }

// With the last reference, __folio_put().
void folio_put_refs(struct folio* folio, int refs) {
  sim::Step("folio_put");
  sim_page_access(folio);
  if (folio->_refcount.counter < refs) {
    sim::Bad(folio, "reference count below zero");
    return;
  }
  folio->_refcount.counter -= refs;
  if (folio->_refcount.counter != 0) return;
  if (folio_test_hugetlb(folio)) {
    free_huge_folio(folio);
    return;
  }
  free_frozen_pages(folio_page(folio, 0), folio_order(folio));
}

int folio_trylock(struct folio* folio) {
  sim::Step("folio_trylock");
  if (folio_test_locked(folio)) return 0;
  folio_set_locked(folio);
  return 1;
}

// folio_wait_bit_common(), uninterruptible.
void folio_lock(struct folio* folio) {
  sim::MightSleep("folio_lock");
  while (folio_test_locked(folio)) sim::Block(folio, false);
  folio_set_locked(folio);
}

void folio_unlock(struct folio* folio) {
  if (!folio_test_locked(folio)) {
    sim::Bad(folio, "unlocked, but not locked");
    return;
  }
  folio_clear_locked(folio);
  sim::WakeAll(folio);
  sim::Step("folio_unlock");
}

// noop_dirty_folio(): hugetlbfs and shmem, nothing is written back.
bool folio_mark_dirty(struct folio* folio) {
  sim::Step("folio_mark_dirty");
  if (folio_test_dirty(folio)) return false;
  folio_set_dirty(folio);
  return true;
}

void folio_clear_dirty_sim(struct folio* folio) { folio_clear_dirty(folio); }

void folio_zero_user(struct folio* folio, unsigned long) {
  sim::MightSleep("folio_zero_user");
  sim::M().memory().Zero(folio_pfn(folio),
                         static_cast<uint64_t>(folio_nr_pages(folio)));
}

void folio_batch_release(struct folio_batch* fbatch) {
  for (unsigned i = 0; i < fbatch->nr; ++i) folio_put(fbatch->folios[i]);
  folio_batch_init(fbatch);
}

// Left out: the counter of the folio's memory cgroup.
void lruvec_stat_mod_folio(struct folio* folio, enum node_stat_item idx,
                           int val) {
  long& stat = sim::node_stats[folio_nid(folio)][idx];
  stat += val;
  if (stat < 0) {
    sim::M().Report("counters", absl::StrCat("NR_HUGETLB of node ",
                                             folio_nid(folio), " is ", stat));
  }
}

}  // extern "C"
