// SPDX-License-Identifier: BSD-3-Clause
//
// mm/memory-failure.c, as far as it has to do with huge pages of files and of
// pools. Left out: signals to those who map the page, private copies,
// unpoisoning, filters, counts by node; that a page which somebody else
// holds, too, counts as not recovered (-EBUSY); and a page that is taken from
// its pool at the same time.
#include "sim/mm/memory_failure.h"

#include <iterator>
#include <map>
#include <set>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/mapping.h"
#include "sim/mm/memmap.h"

namespace sim {
namespace {

enum { kFirstError = 0, kFolioPrePoisoned = 3, kPagePrePoisoned = 4 };

struct mutex mf_mutex;
long num_poisoned_pages;
// folio->_hugetlb_hwpoison of all huge pages: the frames on their lists. It is
// not in the kernel's memory, so what is on it when a page is leaked, as is
// meant, needs no looking after.
std::set<uint64_t> raw_hwp;
// The number of the run in which a huge page got its first error, by its frame.
std::map<uint64_t, uint64_t> first_error;

struct page* BasePage(struct folio* folio, uint64_t i) {
  return folio_page(folio, i);
}

uint64_t NrPages(const struct folio* folio) {
  return static_cast<uint64_t>(folio_nr_pages(folio));
}

bool TestClearPageHWPoison(struct page* page) {
  const bool was = PageHWPoison(page);
  page->flags &= ~(1UL << PG_hwpoison);
  return was;
}

// hugetlb_update_hwpoison()
int UpdateHwpoison(struct folio* folio, struct page* page) {
  const int ret =
      folio_test_hwpoison(folio) ? int{kFolioPrePoisoned} : int{kFirstError};
  if (ret == kFirstError) first_error[folio_pfn(folio)] = Runs();
  folio_set_hwpoison(folio);
  if (folio_test_hugetlb_raw_hwp_unreliable(folio)) return kFolioPrePoisoned;
  const uint64_t pfn = page_to_pfn(page);
  if (raw_hwp.count(pfn) != 0) return kPagePrePoisoned;
  if (!M().Fails(FailKind::kAlloc, "hugetlb_update_hwpoison")) {
    raw_hwp.insert(pfn);
    // HOOK(mm/memory-failure.c, hugetlb_update_hwpoison): hugetlb_luo_error
    if (LuoHugetlb()) hugetlb_luo_error(page, 1);
  } else {
    folio_set_hugetlb_raw_hwp_unreliable(folio);
    // HOOK(mm/memory-failure.c, hugetlb_update_hwpoison): hugetlb_luo_error
    if (LuoHugetlb()) hugetlb_luo_error(BasePage(folio, 0), NrPages(folio));
    raw_hwp.erase(raw_hwp.lower_bound(folio_pfn(folio)),
                  raw_hwp.lower_bound(folio_pfn(folio) + NrPages(folio)));
  }
  return ret;
}

}  // namespace

void MemoryFailureReset() {
  sim_mutex_init(&mf_mutex, "mf_mutex");
  num_poisoned_pages = 0;
  raw_hwp.clear();
  first_error.clear();
}

bool HasNewError(struct folio* folio) {
  const auto at = first_error.find(folio_pfn(folio));
  return folio_test_hwpoison(folio) && at != first_error.end() &&
         at->second == Runs();
}

void ClearHugetlbHwpoison(struct folio* folio) {
  folio_clear_hwpoison(folio);
  const auto end = raw_hwp.lower_bound(folio_pfn(folio) + NrPages(folio));
  auto bad = raw_hwp.lower_bound(folio_pfn(folio));
  while (bad != end) {
    SetPageHWPoison(pfn_to_page(*bad));
    bad = raw_hwp.erase(bad);
  }
}

uint64_t PoisonedPages() { return static_cast<uint64_t>(num_poisoned_pages); }

bool HasMemoryError(uint64_t pfn) { return raw_hwp.count(pfn) != 0; }

bool KnowsError(uint64_t pfn) {
  return HasMemoryError(pfn) || PageHWPoison(pfn_to_page(pfn));
}

uint64_t MemoryErrors(uint64_t pfn, uint64_t nr) {
  return static_cast<uint64_t>(
      std::distance(raw_hwp.lower_bound(pfn), raw_hwp.lower_bound(pfn + nr)));
}

}  // namespace sim

extern "C" {

void SetPageHWPoison(struct page* page) {
  sim_page_access(page);
  sim::TouchPage(page_to_pfn(page));
  page->flags |= 1UL << PG_hwpoison;
}

void num_poisoned_pages_inc(unsigned long) { ++sim::num_poisoned_pages; }

bool is_raw_hwpoison_page_in_hugepage(struct page* page) {
  const uint64_t pfn = page_to_pfn(page);
  auto* folio = reinterpret_cast<struct folio*>(sim::CompoundHead(pfn));
  if (!folio_test_hwpoison(folio)) return false;
  if (!folio_test_hugetlb(folio)) return PageHWPoison(page);
  return folio_test_hugetlb_raw_hwp_unreliable(folio) ||
         sim::HasMemoryError(pfn);
}

// Follows folio_set_hugetlb_hwpoison(), which the series adds.
void folio_set_hugetlb_hwpoison(struct folio* folio) {
  const uint64_t nr_pages = sim::NrPages(folio);
  mutex_lock(&sim::mf_mutex);
  if (sim::num_poisoned_pages == 0) {
    mutex_unlock(&sim::mf_mutex);
    return;
  }
  const bool head = sim::TestClearPageHWPoison(sim::BasePage(folio, 0));
  uint64_t nr = 0;
  for (uint64_t i = 1; i < nr_pages; ++i)
    nr += PageHWPoison(sim::BasePage(folio, i));
  if (head || nr != 0) {
    folio_get(folio);
    if (head && nr == nr_pages - 1) {
      folio_set_hugetlb_raw_hwp_unreliable(folio);
      // HOOK(mm/memory-failure.c, folio_set_hugetlb_hwpoison):
      // hugetlb_luo_error
      if (sim::LuoHugetlb())
        hugetlb_luo_error(sim::BasePage(folio, 0), nr_pages);
    }
    for (uint64_t i = 1; i < nr_pages; ++i) {
      struct page* page = sim::BasePage(folio, i);
      if (sim::TestClearPageHWPoison(page)) sim::UpdateHwpoison(folio, page);
    }
    if (head) sim::UpdateHwpoison(folio, sim::BasePage(folio, 0));
  }
  mutex_unlock(&sim::mf_mutex);
}

// Follows memory_failure() and try_memory_failure_hugetlb(). A huge page of a
// file comes with a reference, which is kept; any other one is free in its
// pool, and is dissolved. A page that is no huge page is one of the kernel's
// own: it is marked, and nothing else can be done.
int memory_failure(unsigned long pfn, int flags) {
  sim::MightSleep("memory_failure");
  mutex_lock(&sim::mf_mutex);
  struct page* page = pfn_to_page(pfn);
  auto* folio = reinterpret_cast<struct folio*>(sim::CompoundHead(pfn));
  int ret = -EBUSY;
  spin_lock_irq(&hugetlb_lock);
  if (!folio_test_hugetlb(folio)) {
    spin_unlock_irq(&hugetlb_lock);
    if (!PageHWPoison(page)) ++sim::num_poisoned_pages;
    SetPageHWPoison(page);
    mutex_unlock(&sim::mf_mutex);
    return ret;
  }
  const bool in_use = flags & MF_COUNT_INCREASED;
  if (!in_use && !folio_test_hugetlb_freed(folio)) {
    spin_unlock_irq(&hugetlb_lock);
    mutex_unlock(&sim::mf_mutex);
    return ret;
  }
  const int rc = sim::UpdateHwpoison(folio, page);
  if (rc >= sim::kFolioPrePoisoned) {
    if (rc == sim::kFolioPrePoisoned) ++sim::num_poisoned_pages;
    spin_unlock_irq(&hugetlb_lock);
    if (in_use) folio_put(folio);
    mutex_unlock(&sim::mf_mutex);
    return -EHWPOISON;
  }
  if (in_use) folio_clear_hugetlb_migratable(folio);
  spin_unlock_irq(&hugetlb_lock);

  if (!in_use) {
    // __page_handle_poison()
    if (dissolve_free_hugetlb_folio(folio) == 0 &&
        sim::TakePageOffBuddy(page)) {
      page->_refcount.counter++;
      ret = 0;
    }
    ++sim::num_poisoned_pages;
    mutex_unlock(&sim::mf_mutex);
    return ret;
  }

  folio_lock(folio);
  if (!folio_mapped(folio) || sim_unmap_poisoned_folio(folio)) ret = 0;
  folio_unlock(folio);
  ++sim::num_poisoned_pages;
  mutex_unlock(&sim::mf_mutex);
  return ret;
}

}  // extern "C"
