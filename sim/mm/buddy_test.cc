// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/buddy.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "sim/mm/memmap_test_kernel.h"

namespace sim {
namespace {

class BuddyTest : public AllocTest {};

struct Block {
  struct page* page;
  unsigned order;
};

// What was free once is free again, in blocks as large.
TEST_F(BuddyTest, RandomAllocationsLeaveNothingBehind) {
  BootMm(PFN_PHYS(64 + 32), 128 << 10);
  const uint64_t free_at_boot = FreePages();
  const int largest = LargestFreeOrder(0);
  std::mt19937 random(3);
  for (int round = 0; round < 5; ++round) {
    std::vector<Block> blocks;
    uint64_t taken = 0;
    for (int i = 0; i < 3000; ++i) {
      if (random() % 5 < 3) {
        const unsigned order = random() % (MAX_PAGE_ORDER + 1);
        const gfp_t gfp =
            random() % 2 ? GFP_KERNEL : GFP_HIGHUSER_MOVABLE | __GFP_NOWARN;
        const gfp_t extra = (random() % 2 ? __GFP_COMP : 0) |
                            (random() % 2 ? __GFP_THISNODE : 0) |
                            (random() % 2 ? __GFP_ZERO : 0);
        const int nid = static_cast<int>(random() % 2);
        struct page* page =
            sim_alloc_pages_node(nid, gfp | extra, order, nullptr);
        if (page == nullptr) continue;
        const uint64_t pfn = page_to_pfn(page);
        ASSERT_EQ(pfn % (uint64_t{1} << order), 0u);
        if ((extra & __GFP_THISNODE) != 0) {
          ASSERT_EQ(pfn_to_nid(pfn), nid);
        }
        // Nothing unmovable lies in CMA.
        if (gfp == GFP_KERNEL) {
          ASSERT_NE(PageblockType(pfn), MIGRATE_CMA);
        }
        if ((extra & __GFP_ZERO) != 0) {
          ASSERT_EQ(static_cast<char*>(page_address(page))[17], 0);
        }
        ASSERT_EQ(page_ref_count(page), 1);
        blocks.push_back({page, order});
        taken += uint64_t{1} << order;
      } else if (!blocks.empty()) {
        const size_t k = random() % blocks.size();
        taken -= uint64_t{1} << blocks[k].order;
        __free_pages(blocks[k].page, blocks[k].order);
        blocks[k] = blocks.back();
        blocks.pop_back();
      }
      ASSERT_EQ(FreePages() + taken, free_at_boot);
      if (i % 16 == 0) {
        ASSERT_TRUE(VerifyOneOwner());
      }
    }
    for (const Block& b : blocks) __free_pages(b.page, b.order);
    ASSERT_TRUE(VerifyOneOwner());
    ASSERT_EQ(FreePages(), free_at_boot);
    ASSERT_EQ(LargestFreeOrder(0), largest);
  }
}

TEST_F(BuddyTest, FallsBackByDistanceUnlessToldNot) {
  BootMm();
  std::vector<struct page*> pages;
  for (;;) {
    struct page* page =
        sim_alloc_pages_node(1, GFP_KERNEL | __GFP_THISNODE, 0, nullptr);
    if (page == nullptr) break;
    EXPECT_EQ(page_to_nid(page), 1);
    pages.push_back(page);
  }
  EXPECT_EQ(FreePagesOfNode(1), 0u);
  struct page* other = sim_alloc_pages_node(1, GFP_KERNEL, 0, nullptr);
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(page_to_nid(other), 0);
  pages.push_back(other);
  nodemask_t only_one = {};
  node_set(1, only_one);
  EXPECT_EQ(sim_alloc_pages_node(1, GFP_KERNEL, 0, &only_one), nullptr);
  for (struct page* page : pages) __free_pages(page, 0);
  EXPECT_TRUE(VerifyOneOwner());
}

TEST(BuddyZonelist, OrdersNodesLikeTheKernel) {
  Machine machine(MakeGeometry("small", 4).value(), 1);
  MmReset();
  MemblockAddRam();
  FreeAreaInit();
  const auto list = [](int nid) {
    const Zone& zone = ZoneOf(nid);
    return std::vector<int>(zone.zonelist,
                            zone.zonelist + zone.zonelist_length);
  };
  // Above before below; who was first for another node comes later.
  EXPECT_EQ(list(0), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(list(1), (std::vector<int>{1, 2, 3, 0}));
  EXPECT_EQ(list(2), (std::vector<int>{2, 3, 0, 1}));
  EXPECT_EQ(list(3), (std::vector<int>{3, 0, 1, 2}));
}

TEST_F(BuddyTest, MovableMayUseCmaOthersMayNot) {
  BootMm(PFN_PHYS(64), 128 << 10);
  EXPECT_GE(FreeCmaPagesOfNode(0), 32u);
  std::vector<struct page*> pages;
  while (struct page* page =
             sim_alloc_pages_node(0, GFP_KERNEL | __GFP_THISNODE, 0, nullptr)) {
    pages.push_back(page);
  }
  EXPECT_EQ(FreePagesOfNode(0), FreeCmaPagesOfNode(0));
  // Nor do movable ones that will be pinned.
  const unsigned flags = memalloc_pin_save();
  EXPECT_EQ(sim_alloc_pages_node(0, GFP_HIGHUSER_MOVABLE | __GFP_THISNODE, 0,
                                 nullptr),
            nullptr);
  memalloc_pin_restore(flags);
  struct page* page = sim_alloc_pages_node(
      0, GFP_HIGHUSER_MOVABLE | __GFP_THISNODE, 0, nullptr);
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(PageblockType(page_to_pfn(page)), MIGRATE_CMA);
  EXPECT_FALSE(folio_is_longterm_pinnable(page_folio(page)));
  __free_pages(page, 0);
  for (struct page* p : pages) __free_pages(p, 0);
  EXPECT_TRUE(VerifyOneOwner());
}

TEST_F(BuddyTest, ScratchOfAColdBootBecomesCma) {
  StartMemblock();
  MemmapInit();
  const phys_addr_t scratch = memblock_phys_alloc(128 << 10, 128 << 10);
  MmCoreInit();
  const uint64_t before = FreePages();
  for (uint64_t i = 0; i < 32; i += pageblock_nr_pages) {
    init_cma_reserved_pageblock(pfn_to_page((scratch >> PAGE_SHIFT) + i));
  }
  EXPECT_EQ(FreePages(), before + 32);
  EXPECT_TRUE(VerifyOneOwner());
}

TEST_F(BuddyTest, KernelPagesAreFilledWithJunkUserPagesAreLeft) {
  BootMm();
  struct page* page = sim_alloc_pages_node(0, GFP_KERNEL, 0, nullptr);
  EXPECT_EQ(static_cast<unsigned char*>(page_address(page))[5], 0xa5);
  EXPECT_TRUE(machine_.memory().IsDirty(page_to_pfn(page)));
  __free_pages(page, 0);
  struct page* user = sim_alloc_pages_node(0, GFP_HIGHUSER_MOVABLE, 2, nullptr);
  EXPECT_EQ(OwnerOf(page_to_pfn(user)), Owner::kFolio);
  __free_pages(user, 2);
}

TEST_F(BuddyTest, CompoundPages) {
  BootMm();
  struct folio* folio = folio_alloc(GFP_HIGHUSER_MOVABLE, 3);
  ASSERT_NE(folio, nullptr);
  EXPECT_EQ(folio_order(folio), 3u);
  EXPECT_EQ(page_folio(folio_page(folio, 7)), folio);
  EXPECT_EQ(CompoundHead(folio_pfn(folio) + 7), folio_page(folio, 0));
  folio_put(folio);
  EXPECT_TRUE(VerifyOneOwner());
}

TEST_F(BuddyTest, FailsByPlan) {
  BootMm();
  machine_.set_fault_plan({FailKind::kAlloc, 2});
  const unsigned long first = get_zeroed_page(GFP_KERNEL);
  EXPECT_NE(first, 0u);
  EXPECT_EQ(get_zeroed_page(GFP_KERNEL), 0u);
  EXPECT_TRUE(machine_.fault_fired());
  free_page(first);
}

TEST_F(BuddyTest, SleepingUnderASpinlockIsReported) {
  BootMm();
  SpinlocksHeldDelta(1);
  free_page(get_zeroed_page(GFP_KERNEL));
  free_page(get_zeroed_page(GFP_ATOMIC));
  SpinlocksHeldDelta(-1);
  EXPECT_EQ(Violated(0).substr(0, 10), "discipline");
}

TEST_F(BuddyTest, DoubleFreeIsReported) {
  BootMm();
  struct page* page = sim_alloc_pages_node(0, GFP_KERNEL, 0, nullptr);
  __free_pages(page, 0);
  free_frozen_pages(page, 0);
  EXPECT_EQ(Violated(0).substr(0, 9), "one-owner");
  __free_pages(page, 0);
  EXPECT_EQ(Violated(1).substr(0, 10), "discipline");
}

TEST_F(BuddyTest, BadStatesAreReportedAndLeaked) {
  BootMm();
  const uint64_t before = FreePages();
  struct folio* folio = folio_alloc(GFP_KERNEL, 1);
  folio_set_locked(folio);
  folio_put(folio);
  EXPECT_NE(Violated(0).find("flags"), std::string::npos);
  EXPECT_EQ(FreePages(), before - 2);
  folio_clear_locked(folio);
  free_frozen_pages(folio_page(folio, 0), 0);
  EXPECT_NE(Violated(1).find("order"), std::string::npos);
  free_frozen_pages(folio_page(folio, 0), 1);
  EXPECT_EQ(FreePages(), before);
}

TEST_F(BuddyTest, VerifyFindsWhatDisagrees) {
  BootMm();
  struct page* page = sim_alloc_pages_node(0, GFP_KERNEL, 0, nullptr);
  SetOwner(page_to_pfn(page), 1, Owner::kFree);
  EXPECT_FALSE(VerifyOneOwner());
  SetOwner(page_to_pfn(page), 1, Owner::kKernel);
  EXPECT_TRUE(VerifyOneOwner());
  page->flags |= 1UL << PG_buddy;
  EXPECT_FALSE(VerifyOneOwner());
  page->flags &= ~(1UL << PG_buddy);
  __free_pages(page, 0);
  EXPECT_NE(Violated(1).find("one-owner"), std::string::npos);
}

TEST_F(BuddyTest, ABootStartsFresh) {
  BootMm();
  const uint64_t before = FreePages();
  for (int i = 0; i < 100; ++i) {
    struct page* page = sim_alloc_pages_node(i % 2, GFP_KERNEL, 2, nullptr);
    page->mapping = reinterpret_cast<struct address_space*>(8);
  }
  BootMm();
  EXPECT_EQ(FreePages(), before);
  EXPECT_TRUE(VerifyOneOwner());
  for (uint64_t pfn = 0; pfn < Map().end_pfn; ++pfn) {
    ASSERT_EQ(pfn_to_online_page(pfn) != nullptr,
              machine_.memory().Exists(pfn));
    if (pfn_valid(pfn)) {
      ASSERT_EQ(pfn_to_page(pfn)->mapping, nullptr);
      ASSERT_EQ(page_to_nid(pfn_to_page(pfn)), pfn_to_nid(pfn));
    }
  }
}

TEST(BuddyGeometry, LargeMachinesBoot) {
  for (const char* name : {"x86", "arm64"}) {
    for (int nodes = 1; nodes <= 4; ++nodes) {
      Machine machine(MakeGeometry(name, nodes).value(), 1);
      MmReset();
      MemblockAddRam();
      FreeAreaInit();
      MemmapInit();
      MmCoreInit();
      uint64_t frames = 0, free = 0;
      for (int nid = 0; nid < nodes; ++nid) {
        frames += Map().frames[nid];
        free += FreePagesOfNode(nid);
      }
      EXPECT_EQ(free, frames);
      EXPECT_TRUE(VerifyOneOwner());
      EXPECT_TRUE(machine.violations().empty());
    }
  }
}

}  // namespace
}  // namespace sim
