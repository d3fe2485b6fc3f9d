// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlb_sysfs.h"

#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"

namespace sim {

bool NodeHasFiles(int nid) {
  return nid == NUMA_NO_NODE ||
         (nid >= 0 && nid < MAX_NUMNODES && node_state(nid, N_MEMORY));
}

// Follows nr_hugepages_store().
int NrHugepagesStore(uint64_t page_size, uint64_t count, int nid) {
  struct hstate* h = size_to_hstate(page_size);
  if (!h || !NodeHasFiles(nid)) return -ENOENT;
  return SetMaxHugePages(h, count, nid);
}

// Follows nr_overcommit_hugepages_store().
int NrOvercommitStore(uint64_t page_size, uint64_t count) {
  struct hstate* h = size_to_hstate(page_size);
  if (!h) return -ENOENT;
  spin_lock_irq(&hugetlb_lock);
  h->nr_overcommit_huge_pages = count;
  spin_unlock_irq(&hugetlb_lock);
  return 0;
}

// Follows preserve_free_store().
int PreserveFreeStore(uint64_t page_size, bool on) {
  struct hstate* h = size_to_hstate(page_size);
  if (!h || !LuoHugetlb()) return -ENOENT;
  // HOOK(mm/hugetlb_sysfs.c, preserve_free_store):
  // hugetlb_luo_set_preserve_free
  return hugetlb_luo_set_preserve_free(h, on);
}

// Follows preserve_free_show().
int PreserveFreeRead(uint64_t page_size) {
  struct hstate* h = size_to_hstate(page_size);
  if (!h || !LuoHugetlb()) return -ENOENT;
  // HOOK(mm/hugetlb_sysfs.c, preserve_free_show): hugetlb_luo_preserves_free
  return hugetlb_luo_preserves_free(h);
}

// Follows the *_show() functions, which take no lock.
int HugepageCountersRead(uint64_t page_size, int nid, HugepageCounters* out) {
  const struct hstate* h = size_to_hstate(page_size);
  if (!h || !NodeHasFiles(nid)) return -ENOENT;
  *out = HugepageCounters();
  if (nid != NUMA_NO_NODE) {
    out->nr = h->nr_huge_pages_node[nid];
    out->free = h->free_huge_pages_node[nid];
    out->surplus = h->surplus_huge_pages_node[nid];
    return 0;
  }
  out->nr = h->nr_huge_pages;
  out->free = h->free_huge_pages;
  out->surplus = h->surplus_huge_pages;
  out->resv = h->resv_huge_pages;
  out->overcommit = h->nr_overcommit_huge_pages;
  out->max = h->max_huge_pages;
  return 0;
}

int NrPageSizes() { return hugetlb_max_hstate; }

uint64_t PageSizeAt(int i) {
  uint64_t size = 0;
  for (; i >= 0; i--) {
    uint64_t next = 0;
    const struct hstate* h;
    for_each_hstate(h) {
      const uint64_t candidate = huge_page_size(h);
      if (candidate > size && (!next || candidate < next)) next = candidate;
    }
    size = next;
  }
  return size;
}

uint64_t DefaultPageSize() { return huge_page_size(&default_hstate); }

}  // namespace sim
