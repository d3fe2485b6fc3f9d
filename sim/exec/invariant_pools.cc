// SPDX-License-Identifier: BSD-3-Clause
//
// The huge pages of a kernel: that pools, files, devices, and what was handed
// over and not claimed, share no page and leave none out.
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sim/exec/invariants.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/mm/buddy.h"
#include "sim/mm/cma.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_cma.h"
#include "sim/mm/memmap.h"
#include "sim/mm/memory_failure.h"
#include "sim/mm/owners.h"

namespace sim {
namespace {

std::string PageName(uint64_t pfn, unsigned order) {
  return absl::StrCat("huge page at frame ", pfn, " of order ", order);
}

const struct folio* FolioAt(uint64_t pfn) {
  return reinterpret_cast<const struct folio*>(pfn_to_page(pfn));
}

bool TestFreed(const struct folio* folio) {
  return folio_test_hugetlb_freed(const_cast<struct folio*>(folio));
}

}  // namespace

// Marks the page as seen; false if a part of it was seen before.
bool Invariants::Claim(uint64_t pfn, unsigned order, const char* owner) {
  const uint64_t from = pfn >> claim_order_;
  const uint64_t to = from + (uint64_t{1} << (order - claim_order_));
  for (uint64_t i = from; i < to; ++i) {
    if (claims_[i] == check_) {
      Fail("no-duplicate", absl::StrCat(PageName(pfn, order), " is ", owner,
                                        " and something else"));
      return false;
    }
    claims_[i] = check_;
  }
  return true;
}

void Invariants::CheckFreeFolio(const struct folio* folio, int nid,
                                unsigned order) {
  const uint64_t pfn = folio_pfn(folio);
  Claim(pfn, order, "free in its pool");
  CountCma(folio, order);
  auto wrong = [&](const char* property, const char* what) {
    Fail(property,
         absl::StrCat(PageName(pfn, order), " is free in its pool and ", what));
  };
  if (!folio_test_hugetlb(folio)) wrong("one-owner", "no huge page");
  if (folio_order(folio) != order) wrong("one-owner", "of another size");
  if (folio_nid(folio) != nid) wrong("placement", "listed on another node");
  if (folio->_refcount.counter != 0) wrong("counters", "referenced");
  if (folio->_pincount.counter != 0) wrong("counters", "pinned");
  if (folio->_mapcount.counter != 0) wrong("counters", "mapped");
  if (!TestFreed(folio)) wrong("counters", "not marked so");
}

// A page that an area gave away, and that goes back there.
void Invariants::CountCma(const struct folio* folio, unsigned order) {
  if (!folio_test_hugetlb_cma(const_cast<struct folio*>(folio))) return;
  const uint64_t pfn = folio_pfn(folio);
  const uint64_t nr = uint64_t{1} << order;
  cma_pages_[folio_nid(folio)] += nr;
  if (!CmaTaken(folio_nid(folio), pfn, nr))
    Fail("one-owner", absl::StrCat(PageName(pfn, order),
                                   " is from a CMA area, which does not have "
                                   "it, or has not given it away"));
}

// Pages of CMA areas: those that are not in the pools are there, nothing that
// is preserved lies in one, and nothing that was handed over. `end`: nobody is
// on the way between the two.
void Invariants::CheckCma(bool end) {
  if (CmaAreas().empty()) return;
  uint64_t given = 0, in_pools = 0;
  for (const CmaArea& area : CmaAreas()) {
    if (area.count == 0) continue;
    const uint64_t taken = CmaTakenPages(area);
    if (taken + area.available_count != area.count)
      Fail("counters",
           absl::StrCat("CMA area ", area.name, " has ", area.count,
                        " pages, of which ", taken, " are taken and ",
                        area.available_count, " are not"));
    given += taken - area.passed_over;
    in_pools += cma_pages_[area.nid];
  }
  in_pools += HugetlbCmaForgotten();
  if (in_pools > given || (end && in_pools != given))
    Fail("no-leak", absl::StrCat("CMA areas gave ", given,
                                 " pages away, and the pools have ", in_pools));
  for (const KhoKey& key : KhoOutgoingKeys()) {
    if (CmaIntersects(key.phys >> PAGE_SHIFT, uint64_t{1} << key.order))
      Fail("identity",
           absl::StrCat("frame ", key.phys >> PAGE_SHIFT, " of order ",
                        key.order, " is preserved and lies in a CMA area"));
  }
  for (const KhoKey& key : KhoUnclaimed()) {
    if (CmaIntersects(key.phys >> PAGE_SHIFT, uint64_t{1} << key.order))
      Fail("quarantine", absl::StrCat("frame ", key.phys >> PAGE_SHIFT,
                                      " of order ", key.order,
                                      " was handed over, and a CMA area has "
                                      "it"));
  }
}

// Whoever uses a page is its file, a process or a device.
void Invariants::CheckActiveFolio(const struct folio* folio, unsigned order) {
  const uint64_t pfn = folio_pfn(folio);
  Claim(pfn, order, "in use");
  CountCma(folio, order);
  auto wrong = [&](const char* property, const char* what) {
    Fail(property, absl::StrCat(PageName(pfn, order), " is in use and ", what));
  };
  if (!folio_test_hugetlb(folio)) wrong("one-owner", "no huge page");
  if (folio_order(folio) != order) wrong("one-owner", "of another size");
  if (TestFreed(folio)) wrong("counters", "marked as free");
  if (folio_test_locked(folio)) wrong("discipline", "locked");
  const int refs = folio->_refcount.counter;
  const int pins = folio->_pincount.counter;
  if (refs <= 0) wrong("counters", "not referenced");
  if (folio->mapping == nullptr && pins == 0 && !folio_test_hwpoison(folio)) {
    wrong("no-leak", "in no file, mapped by nobody, pinned by nobody");
    return;
  }
  const bool anon = reinterpret_cast<uintptr_t>(folio->mapping) & 1;
  const int64_t cached =
      folio->mapping == nullptr || anon ? 0 : folio_nr_pages(folio);
  // memory_failure() keeps one.
  const bool bad = folio_test_hwpoison(folio);
  const int64_t expected = cached + folio->_mapcount.counter + pins + bad;
  if (refs != expected) {
    Fail("no-leak",
         absl::StrCat(PageName(pfn, order), " has ", refs, " references, ",
                      expected, " of them are accounted for"));
  }
}

void Invariants::CheckPools() {
  const int nodes = M().geometry().nodes;
  claim_order_ = M().geometry().huge_orders.front();
  const size_t units = (M().memory().end_pfn() >> claim_order_) + 1;
  if (claims_.size() != units) claims_.assign(units, 0);
  ++check_;
  memset(cma_pages_, 0, sizeof(cma_pages_));
  const struct hstate* h;
  for_each_hstate(h) {
    uint64_t nr = 0, free = 0, surplus = 0;
    int64_t active[model::kMaxNodes] = {};
    for (int n = 0; n < nodes; ++n) {
      unsigned listed = 0;
      const struct list_head* head = &h->hugepage_freelists[n];
      for (const struct list_head* at = head->next; at != head; at = at->next) {
        CheckFreeFolio(list_entry(at, struct folio, lru), n, h->order);
        ++listed;
      }
      if (listed != h->free_huge_pages_node[n]) {
        Fail("counters", absl::StrCat(h->name, " node ", n, ": ", listed,
                                      " pages are on the free list, counted ",
                                      h->free_huge_pages_node[n]));
      }
      nr += h->nr_huge_pages_node[n];
      free += h->free_huge_pages_node[n];
      surplus += h->surplus_huge_pages_node[n];
      // Surplus is only kept by node, not exact by node: Linux may shrink the
      // pool by a page of a node whose pages were all surplus.
      if (h->free_huge_pages_node[n] > h->nr_huge_pages_node[n]) {
        Fail("counters",
             absl::StrCat(h->name, " node ", n, ": more free than there are"));
      }
    }
    const struct list_head* head = &h->hugepage_activelist;
    for (const struct list_head* at = head->next; at != head; at = at->next) {
      const auto* folio = list_entry(at, struct folio, lru);
      CheckActiveFolio(folio, h->order);
      ++active[folio_nid(folio)];
    }
    if (nr != h->nr_huge_pages || free != h->free_huge_pages ||
        surplus != h->surplus_huge_pages) {
      Fail("counters",
           absl::StrCat(h->name, ": sums over the nodes are ", nr, " ", free,
                        " ", surplus, ", counted are ", h->nr_huge_pages, " ",
                        h->free_huge_pages, " ", h->surplus_huge_pages));
    }
    // What the administrator reads in vm.nr_hugepages.
    if (h->max_huge_pages != nr - surplus + HugetlbSkippedAtBoot(h)) {
      Fail("counters", absl::StrCat(h->name, ": the pool is to have ",
                                    h->max_huge_pages, " pages, it has ",
                                    nr - surplus, " that are no surplus"));
    }
    if (h->resv_huge_pages > h->free_huge_pages && !HugetlbReserveIsOff()) {
      Fail("counters",
           absl::StrCat(h->name, ": ", h->resv_huge_pages, " reserved of ",
                        h->free_huge_pages, " free"));
    }
    // What is counted and neither free nor in use is announced.
    for (int n = 0; n < nodes; ++n) {
      const int64_t announced = static_cast<int64_t>(h->nr_huge_pages_node[n]) -
                                h->free_huge_pages_node[n] - active[n];
      int64_t coming = 0;
      for (const KhoKey& key : executor_.handed_over()) {
        coming += key.order == h->order &&
                  M().memory().NodeOf(key.phys >> PAGE_SHIFT) == n;
      }
      for (const KhoKey& key : executor_.claimed()) {
        coming += key.order == h->order &&
                  M().memory().NodeOf(key.phys >> PAGE_SHIFT) == n &&
                  HeldAside(key);
      }
      // A kernel that had no memory to look counts what it was told, and where.
      const bool told = boot_fault_ &&
                        (executor_.table_corrupted() || executor_.renumbered());
      if (announced < 0 || (announced > coming && !told)) {
        Fail("counters",
             absl::StrCat(h->name, " node ", n, ": ", announced,
                          " pages are counted and nowhere, ", coming,
                          " were handed over and not claimed"));
      }
    }
  }
}

// Each is written down once.
void Invariants::CheckErrorList() {
  const model::TableView table = ReadTableView();
  std::set<std::pair<uint64_t, uint32_t>> seen;
  for (const model::TableView::Error& error : table.errors) {
    if (seen.insert({error.address, error.pages}).second) continue;
    Fail("metadata", absl::StrCat("the memory error at ", error.address,
                                  " is on the list twice"));
  }
}

// A memory error is known for as long as somebody could come by it, and no
// other base page is taken for one.
void Invariants::CheckErrors() {
  if (!executor_.user().errors().empty()) CheckErrorList();
  for (const BadFrame& bad : executor_.user().errors()) {
    if (bad.loose) {
      CheckLooseError(bad);
      continue;
    }
    const KhoKey key{bad.first << PAGE_SHIFT, bad.order};
    const auto& claimed = executor_.claimed();
    if (bad.generation != M().generation &&
        std::find(claimed.begin(), claimed.end(), key) == claimed.end())
      continue;
    auto* folio = reinterpret_cast<struct folio*>(pfn_to_page(bad.first));
    const std::string name =
        absl::StrCat(PageName(bad.first, bad.order), ", frame ", bad.pfn,
                     " of which has a memory error, ");
    if (!folio_test_hugetlb(folio) || folio_order(folio) != bad.order) {
      Fail("metadata", absl::StrCat(name, "is no huge page any more"));
      continue;
    }
    if (TestFreed(folio))
      Fail("metadata", absl::StrCat(name, "is free in its pool"));
    if (!is_raw_hwpoison_page_in_hugepage(pfn_to_page(bad.pfn)))
      Fail("metadata", absl::StrCat(name, "is not known to have one"));
    if (bad.wide || folio_test_hugetlb_raw_hwp_unreliable(folio)) continue;
    const auto& all = executor_.user().errors();
    const auto errors = std::count_if(
        all.begin(), all.end(),
        [&bad](const BadFrame& other) { return other.first == bad.first; });
    if (MemoryErrors(bad.first, uint64_t{1} << bad.order) !=
        static_cast<uint64_t>(errors))
      Fail("metadata", absl::StrCat(name, "is said to have more"));
  }
}

// Nobody has it, or ever wrote to it.
void Invariants::CheckLooseError(const BadFrame& bad) {
  const std::string name =
      absl::StrCat("frame ", bad.pfn, ", which has a memory error, ");
  const bool here = bad.generation == M().generation;
  const Owner owner = OwnerOf(bad.pfn);
  // Its huge page may be leaked as a whole.
  auto* folio = reinterpret_cast<struct folio*>(pfn_to_page(bad.first));
  const bool leaked = here && owner != Owner::kFree &&
                      folio_test_hugetlb_raw_hwp_unreliable(folio);
  if (owner != (here ? Owner::kPoisoned : Owner::kReserved) && !leaked)
    Fail("one-owner", absl::StrCat(name, "is ", OwnerName(owner)));
  const auto* bytes =
      static_cast<const unsigned char*>(__va(bad.pfn << PAGE_SHIFT));
  const unsigned char want = here ? 0xee : PhysicalMemory::kPoison;
  if (bytes[0] != want || memcmp(bytes, bytes + 1, PAGE_SIZE - 1) != 0)
    Fail("one-owner", absl::StrCat(name, "was written to"));
  if (PageHWPoison(pfn_to_page(bad.pfn)) || leaked) {
    const model::TableView table = ReadTableView();
    if (!here && bad.passed_on && table.found && !table.Lists(bad.pfn) &&
        !table.ErrorsFull())
      Fail("chain", absl::StrCat(name, "is not on this kernel's list"));
    return;
  }
  // There was no memory to look at what came, or nobody did.
  const auto& log = M().log();
  if (!here && std::any_of(log.begin(), log.end(), [](const std::string& line) {
        return line.find("no memory to check") != std::string::npos ||
               line.find("live update is disabled") != std::string::npos ||
               line.find("is not preserved itself") != std::string::npos;
      }))
    return;
  Fail("metadata", absl::StrCat(name, "is not known to have one"));
}

// As hugetlb_fault() and hugetlbfs_fallocate() leave the pages of a file.
void Invariants::CheckRetrieved(struct file* file) {
  struct xarray* pages = &file->f_mapping->i_pages;
  unsigned long index = 0;
  for (void* entry = xa_find(pages, &index, ~0UL, XA_PRESENT); entry != nullptr;
       entry = xa_find_after(pages, &index, ~0UL, XA_PRESENT)) {
    auto* folio = static_cast<struct folio*>(entry);
    // Not one that got there after an earlier retrieval.
    const KhoKey key{folio_pfn(folio) << PAGE_SHIFT, folio_order(folio)};
    const auto& claimed = executor_.claimed();
    if (std::find(claimed.begin(), claimed.end(), key) == claimed.end())
      continue;
    const std::string name = PageName(folio_pfn(folio), folio_order(folio));
    if (!folio_test_uptodate(folio))
      Fail("metadata", absl::StrCat(name, " came back not up to date"));
    if (!folio_test_dirty(folio))
      Fail("metadata", absl::StrCat(name, " came back clean"));
    if (folio_test_hugetlb_migratable(folio) == folio_test_hwpoison(folio))
      Fail("metadata",
           absl::StrCat(name, " came back, to be migrated or not, wrongly"));
  }
}

void Invariants::CheckQuarantine() {
  for (const KhoKey& key : executor_.handed_over()) {
    const uint64_t pfn = key.phys >> PAGE_SHIFT;
    const uint64_t nr = uint64_t{1} << key.order;
    if (key.order >= claim_order_) {
      Claim(pfn, key.order, "KHO's and not claimed");
    }
    const MemMap& map = Map();
    const uint64_t step = nr > 1024 ? nr / 64 : 1;
    for (uint64_t i = 0; i < nr; i += step) {
      const Owner owner = static_cast<Owner>(map.owner[pfn + i]);
      if (owner == Owner::kReserved && !PageBuddy(&map.pages[pfn + i])) {
        continue;
      }
      Fail("quarantine",
           absl::StrCat(PageName(pfn, key.order),
                        " was handed over and not claimed, but frame ", pfn + i,
                        " is ", OwnerName(owner)));
      break;
    }
  }
}

// A retrieval that failed has got the page from KHO and keeps it for the next
// attempt.
bool Invariants::HeldAside(const KhoKey& key) const {
  const struct folio* folio = FolioAt(key.phys >> PAGE_SHIFT);
  return folio_test_hugetlb(folio) && folio_order(folio) == key.order &&
         folio->_refcount.counter > int{folio_test_hwpoison(folio)} &&
         folio->mapping == nullptr && folio->_pincount.counter == 0;
}

}  // namespace sim
