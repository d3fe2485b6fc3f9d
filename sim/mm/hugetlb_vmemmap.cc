// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlb_vmemmap.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/memmap.h"

namespace sim {
namespace {

constexpr unsigned long kGone = 0x676f6e6520676f6eUL;

bool optimize_enabled;
std::map<uint64_t, uint64_t> optimized;  // pfn of the head: struct pages

// What a struct page that is gone says: which folio it is in, its node, that
// nobody uses it.
void Fill(struct page* tail, unsigned long value) {
  tail->compound_pad = value;
  tail->mapping = reinterpret_cast<struct address_space*>(value);
  tail->index = value;
  tail->private_ = value;
  tail->objcg = reinterpret_cast<struct obj_cgroup*>(value);
}

bool Holds(const struct page* head, const struct page* tail,
           unsigned long value, unsigned long link) {
  return tail->flags == (head->flags >> SIM_NODE_SHIFT << SIM_NODE_SHIFT) &&
         tail->compound_head == link && tail->compound_pad == value &&
         tail->mapping == reinterpret_cast<struct address_space*>(value) &&
         tail->index == value && tail->private_ == value &&
         tail->_refcount.counter == 0 && tail->_mapcount.counter == 0 &&
         tail->objcg == reinterpret_cast<struct obj_cgroup*>(value);
}

// Struct pages that the memory map never writes anyway are as at rest.
void Verify(uint64_t pfn, uint64_t nr) {
  const struct page* head = pfn_to_page(pfn);
  const auto link = reinterpret_cast<unsigned long>(head) | 1;
  for (uint64_t i = VmemmapReserve(); i < nr; ++i) {
    const bool written = i < kWrittenTails;
    if (Holds(head, head + i, written ? kGone : 0, written ? link : 0))
      continue;
    M().Report("discipline",
               absl::StrCat("page frame ", pfn, ": struct page ", i,
                            " was written to, which is optimized away"));
    return;
  }
}

}  // namespace

void VmemmapReset() {
  optimize_enabled = false;
  optimized.clear();
}

void VmemmapParam(const std::string& value) {
  ParseBool(value, &optimize_enabled);
}

uint64_t VmemmapReserve() { return M().geometry().vmemmap_reserve; }

void VmemmapOptimizeFolio(const struct hstate* h, struct folio* folio) {
  const uint64_t nr = pages_per_huge_page(h);
  if (!optimize_enabled || nr <= VmemmapReserve() ||
      folio_test_hugetlb_vmemmap_optimized(folio))
    return;
  VM_BUG_ON_FOLIO(!folio_test_hugetlb(folio), folio);
  VM_BUG_ON_FOLIO(folio_ref_count(folio), folio);
  MightSleep("hugetlb_vmemmap_optimize_folio");
  folio_set_hugetlb_vmemmap_optimized(folio);
  struct page* head = folio_page(folio, 0);
  for (uint64_t i = VmemmapReserve(); i < std::min(nr, kWrittenTails); ++i)
    Fill(head + i, kGone);
  optimized[folio_pfn(folio)] = nr;
}

void VmemmapOptimizeFolios(const struct hstate* h, struct list_head* folios) {
  struct folio* folio;
  list_for_each_entry(folio, folios, lru) { VmemmapOptimizeFolio(h, folio); }
}

int VmemmapRestoreFolio(const struct hstate* h, struct folio* folio) {
  VM_BUG_ON_FOLIO(folio_ref_count(folio), folio);
  if (!folio_test_hugetlb_vmemmap_optimized(folio)) return 0;
  VM_BUG_ON_FOLIO(!folio_test_hugetlb(folio), folio);
  MightSleep("hugetlb_vmemmap_restore_folio");
  // Memory of one page at a time, which the kernel tries hard to get.
  if (M().Fails(FailKind::kRace, "alloc_vmemmap_page_list")) return -ENOMEM;
  const uint64_t nr = pages_per_huge_page(h);
  Verify(folio_pfn(folio), nr);
  struct page* head = folio_page(folio, 0);
  for (uint64_t i = VmemmapReserve(); i < std::min(nr, kWrittenTails); ++i)
    Fill(head + i, 0);
  folio_clear_hugetlb_vmemmap_optimized(folio);
  optimized.erase(folio_pfn(folio));
  return 0;
}

void VmemmapVerify() {
  for (const auto& [pfn, nr] : optimized)
    Verify(pfn, std::min(nr, kWrittenTails));
}

}  // namespace sim
