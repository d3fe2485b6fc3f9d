// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/memmap.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sim/mm/memmap_test_kernel.h"

namespace sim {
namespace {

struct folio* FolioAt(uint64_t pfn) {
  return reinterpret_cast<struct folio*>(pfn_to_page(pfn));
}

// What code may ask or do with a struct page, to no lasting effect.
struct Access {
  const char* name;
  void (*fn)(uint64_t pfn);
};
const Access kAccesses[] = {
    {"PageHWPoison", [](uint64_t n) { PageHWPoison(pfn_to_page(n)); }},
    {"page_folio", [](uint64_t n) { page_folio(pfn_to_page(n)); }},
    {"pfn_folio", [](uint64_t n) { pfn_folio(n); }},
    {"page_to_nid", [](uint64_t n) { page_to_nid(pfn_to_page(n)); }},
    {"folio_nid", [](uint64_t n) { folio_nid(FolioAt(n)); }},
    {"folio_order", [](uint64_t n) { folio_order(FolioAt(n)); }},
    {"folio_test", [](uint64_t n) { folio_test_hugetlb(FolioAt(n)); }},
    {"folio_clear", [](uint64_t n) { folio_clear_locked(FolioAt(n)); }},
    {"folio_mapped", [](uint64_t n) { folio_mapped(FolioAt(n)); }},
    {"folio_mapcount", [](uint64_t n) { folio_mapcount(FolioAt(n)); }},
    {"folio_test_anon", [](uint64_t n) { folio_test_anon(FolioAt(n)); }},
    {"folio_ref_count", [](uint64_t n) { folio_ref_count(FolioAt(n)); }},
    {"folio_ref_freeze", [](uint64_t n) { folio_ref_freeze(FolioAt(n), 1); }},
    {"folio_ref_unfreeze",
     [](uint64_t n) { folio_ref_unfreeze(FolioAt(n), 0); }},
    {"folio_ref_add", [](uint64_t n) { folio_ref_add(FolioAt(n), 0); }},
    {"page_ref_count", [](uint64_t n) { page_ref_count(pfn_to_page(n)); }},
    {"set_page_count", [](uint64_t n) { set_page_count(pfn_to_page(n), 0); }},
    {"folio_try_get", [](uint64_t n) { folio_try_get(FolioAt(n)); }},
    {"kho_folio_preserved",
     [](uint64_t n) { kho_folio_preserved(PFN_PHYS(n), 0); }},
    {"CompoundHead", [](uint64_t n) { CompoundHead(n); }},
    {"SetPageHWPoison",
     [](uint64_t n) {
       SetPageHWPoison(pfn_to_page(n));
       pfn_to_page(n)->flags &= ~(1UL << PG_hwpoison);
     }},
};

// The memory map while it is initialised, and its holes.
class MemmapTest : public AllocTest {
 protected:
  // How often fn was reported for the struct page of this frame.
  size_t Reports(uint64_t pfn, const std::function<void()>& fn) {
    const size_t before = machine_.violations().size();
    fn();
    const size_t after = machine_.violations().size();
    expected_violations_ = after;
    for (size_t i = before; i < after; ++i) {
      const Violation& v = machine_.violations()[i];
      EXPECT_EQ(v.property, "discipline");
      EXPECT_TRUE(v.what.starts_with(
          absl::StrCat("page frame ", pfn, ": its struct page is used, ")))
          << v.what;
    }
    return after - before;
  }
  bool IsThere(uint64_t pfn) {
    return Reports(pfn, [pfn] { PageHWPoison(pfn_to_page(pfn)); }) == 0;
  }

  // The geometry "small" of two nodes.
  static constexpr uint64_t kLow = 3;  // before the first frame
  static constexpr uint64_t kMemory = 100;
  static constexpr uint64_t kHole = 480;    // whole host pages of struct pages
  static constexpr uint64_t kSmall = 1160;  // others are beside it
};

class AccessTest : public MemmapTest,
                   public ::testing::WithParamInterface<Access> {};

TEST_P(AccessTest, IsReportedUntilSomebodyInitialisedIt) {
  const auto access = [] { GetParam().fn(kMemory); };
  StartMemblock();
  MemmapInit();
  MmCoreInit();
  EXPECT_GE(Reports(kMemory, access), 1u);
  DeferredInit();
  EXPECT_EQ(Reports(kMemory, access), 0u);
}

// kho_folio_preserved() asks whether there is one at all.
TEST_P(AccessTest, IsReportedInAHole) {
  const bool asks = std::string(GetParam().name) == "kho_folio_preserved";
  // In each kernel: what the last one did to it is no excuse.
  for (int boots = 0; boots < 2; ++boots) {
    BootMm();
    EXPECT_EQ(Reports(kSmall, [] { GetParam().fn(kSmall); }) == 0, asks);
  }
}

INSTANTIATE_TEST_SUITE_P(All, AccessTest, ::testing::ValuesIn(kAccesses),
                         [](const auto& info) { return info.param.name; });

TEST_F(MemmapTest, NoStructPageIsThereBeforeMemmapInit) {
  StartMemblock();
  EXPECT_FALSE(IsThere(kMemory));
  EXPECT_TRUE(pfn_valid(kMemory));
}

// All from the tail on; a head alone is not enough.
TEST_F(MemmapTest, NoCompoundPageOfWhatIsNotInitialised) {
  StartMemblock();
  MemmapInit();
  InitStructPages(kMemory, 3);
  const auto prep = [] { prep_compound_page(pfn_to_page(kMemory), 2); };
  EXPECT_EQ(Reports(kMemory + 3, prep), 1u);
  InitStructPages(kMemory + 3, 1);
  EXPECT_EQ(Reports(kMemory, prep), 0u);
}

TEST_F(MemmapTest, WhoInitialisesWhat) {
  StartMemblock();
  constexpr uint64_t kReserved = 128, kNoinit = 160;
  memblock_reserve(PFN_PHYS(kReserved), PAGE_SIZE * 8);
  memblock_reserve(PFN_PHYS(kNoinit), PAGE_SIZE * 8);
  memblock_reserved_mark_noinit(PFN_PHYS(kNoinit + 1), PAGE_SIZE * 7);
  MemmapInit();
  EXPECT_FALSE(IsThere(kReserved));
  MmCoreInit();
  // memblock_free_all()
  EXPECT_TRUE(IsThere(kReserved));
  EXPECT_TRUE(IsThere(kReserved + 7));
  EXPECT_FALSE(IsThere(kReserved + 8));
  EXPECT_TRUE(IsThere(kNoinit));
  EXPECT_FALSE(IsThere(kNoinit + 1));
  // What the buddy allocator gives out, and takes back.
  struct page* page = sim_alloc_pages_node(0, GFP_KERNEL, 2, nullptr);
  ASSERT_NE(page, nullptr);
  const uint64_t pfn = page_to_pfn(page);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_TRUE(IsThere(pfn + i));
  __free_pages(page, 2);
  EXPECT_TRUE(IsThere(pfn + 3));

  DeferredInit();
  EXPECT_TRUE(IsThere(kReserved + 8));
  EXPECT_FALSE(IsThere(kNoinit + 1));
  EXPECT_FALSE(IsThere(kNoinit + 7));
  EXPECT_EQ(sim_uninit_pages, 7u);
  // Whoever wanted them to be left.
  InitStructPages(kNoinit, 8);
  EXPECT_TRUE(IsThere(kNoinit + 7));
  EXPECT_EQ(sim_uninit_pages, 0u);
}

// A kernel inherits nothing from the one before it.
TEST_F(MemmapTest, EachKernelStartsAnew) {
  BootMm();
  EXPECT_TRUE(IsThere(kMemory));
  StartMemblock();
  MemmapInit();
  EXPECT_FALSE(IsThere(kMemory));
}

TEST_F(MemmapTest, HolesHaveNoStructPages) {
  BootMm();
  for (const uint64_t pfn : {kLow, kHole, kSmall, Map().end_pfn}) {
    EXPECT_EQ(pfn_to_online_page(pfn), nullptr) << pfn;
    EXPECT_FALSE(pfn_valid(pfn)) << pfn;
    EXPECT_FALSE(kho_folio_preserved(PFN_PHYS(pfn), 0)) << pfn;
  }
  EXPECT_NE(pfn_to_online_page(kMemory), nullptr);
  // Who asks first gets no oops.
  EXPECT_TRUE(machine_.violations().empty());

  EXPECT_TRUE(IsThere(1151));  // its neighbours are there
  EXPECT_TRUE(IsThere(1184));
  for (const uint64_t pfn : {kLow, kHole}) {
    EXPECT_EQ(RunBoot([pfn] { PageHWPoison(pfn_to_page(pfn)); }),
              RunResult::kBug);
    EXPECT_TRUE(
        Violated(machine_.violations().size() - 1)
            .starts_with(absl::StrCat(
                "discipline: Oops in boot: access to the struct page of frame ",
                pfn, ", where nothing is, at ")))
        << Violated(machine_.violations().size() - 1);
    ResetActors();
  }
}

}  // namespace
}  // namespace sim
