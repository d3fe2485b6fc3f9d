// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/memblock.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "sim/mm/memmap_test_kernel.h"

namespace sim {
namespace {

class MemblockTest : public AllocTest {};

// One entry per page: what memblock should know of it.
struct Page {
  bool memory = false, reserved = false;
  unsigned flags = 0, reserved_flags = 0;
  int nid = -1;
};

// memblock against a table of pages, with random requests.
TEST_F(MemblockTest, AgreesWithTableOfPages) {
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    StartMemblock();
    std::vector<Page> table(machine_.memory().end_pfn());
    for (uint64_t pfn = 0; pfn < table.size(); ++pfn) {
      table[pfn].memory = machine_.memory().Exists(pfn);
      table[pfn].nid = machine_.memory().NodeOf(pfn);
    }
    for (int i = 0; i < 200; ++i) {
      const uint64_t first = random() % table.size();
      const uint64_t nr = 1 + random() % 20;
      const uint64_t end = std::min<uint64_t>(first + nr, table.size());
      const phys_addr_t base = PFN_PHYS(first), size = PFN_PHYS(end - first);
      switch (random() % 5) {
        case 0:
          memblock_reserve(base, size);
          for (uint64_t p = first; p < end; ++p) table[p].reserved = true;
          break;
        case 1:
          memblock_phys_free(base, size);
          for (uint64_t p = first; p < end; ++p) {
            table[p].reserved = false;
            table[p].reserved_flags = 0;
          }
          break;
        case 2:
          memblock_mark_kho_scratch(base, size);
          for (uint64_t p = first; p < end; ++p) {
            if (table[p].memory) table[p].flags |= MEMBLOCK_KHO_SCRATCH;
          }
          break;
        case 3:
          memblock_clear_kho_scratch(base, size);
          for (uint64_t p = first; p < end; ++p) table[p].flags = 0;
          break;
        case 4:
          memblock_reserved_mark_noinit(base, size);
          for (uint64_t p = first; p < end; ++p) {
            if (table[p].reserved) {
              table[p].reserved_flags |= MEMBLOCK_RSRV_NOINIT;
            }
          }
          break;
      }
    }
    for (const MemblockType* type :
         {&TheMemblock().memory, &TheMemblock().reserved}) {
      for (size_t i = 0; i + 1 < type->regions.size(); ++i) {
        const MemblockRegion& a = type->regions[i];
        const MemblockRegion& b = type->regions[i + 1];
        ASSERT_LE(a.end(), b.base);
        ASSERT_FALSE(a.end() == b.base && a.nid == b.nid && a.flags == b.flags)
            << "not merged";
      }
    }
    for (uint64_t p = 0; p < table.size(); ++p) {
      const int m = MemblockSearch(TheMemblock().memory, PFN_PHYS(p));
      const int r = MemblockSearch(TheMemblock().reserved, PFN_PHYS(p));
      ASSERT_EQ(m >= 0, table[p].memory) << p;
      ASSERT_EQ(r >= 0, table[p].reserved) << p;
      ASSERT_EQ(memblock_is_reserved(PFN_PHYS(p)), table[p].reserved);
      ASSERT_EQ(memblock_is_region_reserved(PFN_PHYS(p), PAGE_SIZE),
                table[p].reserved);
      if (m >= 0) {
        const auto& region =
            TheMemblock().memory.regions[static_cast<size_t>(m)];
        ASSERT_EQ(region.flags, table[p].flags);
        ASSERT_EQ(region.nid, table[p].nid);
        ASSERT_EQ(early_pfn_to_nid(p), table[p].nid);
        unsigned long from = 0, to = 0;
        ASSERT_EQ(memblock_search_pfn_nid(p, &from, &to), table[p].nid);
        ASSERT_EQ(from, PFN_DOWN(region.base));
        ASSERT_EQ(to, PFN_DOWN(region.end()));
      } else {
        unsigned long from, to;
        ASSERT_EQ(memblock_search_pfn_nid(p, &from, &to), NUMA_NO_NODE);
      }
      if (r >= 0) {
        ASSERT_EQ(TheMemblock().reserved.regions[static_cast<size_t>(r)].flags,
                  table[p].reserved_flags);
      }
    }
    uint64_t listed = 0;
    int range, nid;
    unsigned long start, last;
    for_each_mem_pfn_range(range, MAX_NUMNODES, &start, &last, &nid) {
      for (; listed < start; ++listed) ASSERT_FALSE(table[listed].memory);
      for (; listed < last; ++listed) {
        ASSERT_TRUE(table[listed].memory);
        ASSERT_EQ(table[listed].nid, nid);
      }
    }
    for (; listed < table.size(); ++listed) ASSERT_FALSE(table[listed].memory);
    for_each_mem_pfn_range(range, 1, nullptr, nullptr, &nid) {
      ASSERT_EQ(nid, 1);
    }
    // Allocation: the highest (or lowest) place that fits, on the node.
    for (int i = 0; i < 20; ++i) {
      const uint64_t nr = 1 + random() % 16;
      const uint64_t align = uint64_t{1} << random() % 5;
      const int nid = static_cast<int>(random() % 3) - 1;
      const bool bottom_up = random() % 2;
      const bool scratch_only = random() % 2;
      memblock_set_bottom_up(bottom_up);
      if (scratch_only) {
        memblock_set_kho_scratch_only();
      } else {
        memblock_clear_kho_scratch_only();
      }
      // A free range does not reach over a border between regions.
      const auto fits = [&](uint64_t at) {
        for (uint64_t p = at; p < at + nr; ++p) {
          if (p >= table.size() || !table[p].memory || table[p].reserved ||
              table[p].nid != table[at].nid ||
              table[p].flags != table[at].flags) {
            return false;
          }
        }
        return (nid < 0 || table[at].nid == nid) &&
               (!scratch_only || table[at].flags != 0);
      };
      uint64_t want = 0;
      for (uint64_t at = align; at < table.size(); at += align) {
        if (!fits(at)) continue;
        want = at;
        if (bottom_up) break;
      }
      const phys_addr_t got = memblock_alloc_range_nid(
          PFN_PHYS(nr), PFN_PHYS(align), 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid,
          /*exact_nid=*/true);
      ASSERT_EQ(got, PFN_PHYS(want));
      for (uint64_t p = want; got != 0 && p < want + nr; ++p) {
        table[p].reserved = true;
      }
    }
  }
}

TEST_F(MemblockTest, AllocZeroesAndIsCounted) {
  StartMemblock();
  const phys_addr_t before = memblock_reserved_kern_size(~0ULL, -1);
  char* mem = static_cast<char*>(memblock_alloc(3 * PAGE_SIZE, PAGE_SIZE));
  ASSERT_NE(mem, nullptr);
  for (uint64_t i = 0; i < 3 * PAGE_SIZE; ++i) ASSERT_EQ(mem[i], 0);
  EXPECT_TRUE(machine_.memory().IsDirty(__pa(mem) >> PAGE_SHIFT));
  EXPECT_EQ(memblock_reserved_kern_size(~0ULL, -1), before + 3 * PAGE_SIZE);
  memblock_free(mem, 3 * PAGE_SIZE);
  EXPECT_EQ(memblock_reserved_kern_size(~0ULL, -1), before);
}

TEST_F(MemblockTest, HugetlbKeepsOffScratch) {
  const phys_addr_t size = 256 << 10;
  StartMemblock();
  void* top = memblock_alloc_hugetlb(size, NUMA_NO_NODE, false);
  ASSERT_NE(top, nullptr);
  EXPECT_EQ(memblock_reserved_hugetlb_size(~0ULL, NUMA_NO_NODE), size);
  // The same place is scratch now.
  scratch_ = {__pa(top), PAGE_SIZE};
  kho_scratch_cnt = 1;
  StartMemblock();
  void* other = memblock_alloc_hugetlb(size, NUMA_NO_NODE, false);
  ASSERT_NE(other, nullptr);
  EXPECT_LT(other, top);
  EXPECT_EQ(__pa(other) % size, 0u);
}

TEST_F(MemblockTest, HugetlbFallsBackToOtherNodesUnlessExact) {
  StartMemblock();
  const phys_addr_t size = 256 << 10;
  int on_node = 0;
  while (memblock_alloc_hugetlb(size, 1, true) != nullptr) ++on_node;
  EXPECT_GT(on_node, 0);
  EXPECT_EQ(memblock_reserved_hugetlb_size(~0ULL, 1),
            size * static_cast<phys_addr_t>(on_node));
  EXPECT_NE(memblock_alloc_hugetlb(size, 1, false), nullptr);
}

TEST_F(MemblockTest, HugetlbFailsByPlan) {
  StartMemblock();
  machine_.set_fault_plan({FailKind::kAlloc, 1});
  EXPECT_EQ(memblock_alloc_hugetlb(256 << 10, 0, false), nullptr);
  EXPECT_NE(memblock_alloc_hugetlb(256 << 10, 0, false), nullptr);
}

TEST_F(MemblockTest, GivesTheRestToTheBuddyAllocator) {
  StartMemblock();
  MemmapInit();
  const phys_addr_t kept = memblock_phys_alloc(5 * PAGE_SIZE, PAGE_SIZE);
  const phys_addr_t noinit = memblock_phys_alloc(PAGE_SIZE, PAGE_SIZE);
  memblock_reserved_mark_noinit(noinit, PAGE_SIZE);
  InitStructPages(noinit >> PAGE_SHIFT, 1);
  pfn_to_page(noinit >> PAGE_SHIFT)->private_ = 42;
  MmCoreInit();
  uint64_t frames = 0;
  for (uint64_t f : Map().frames) frames += f;
  EXPECT_EQ(FreePages(), frames - 6);
  EXPECT_EQ(totalram_pages(), frames - 6);
  EXPECT_EQ(OwnerOf(kept >> PAGE_SHIFT), Owner::kReserved);
  EXPECT_TRUE(folio_test_reserved(pfn_folio(kept >> PAGE_SHIFT)));
  EXPECT_FALSE(folio_test_reserved(pfn_folio(noinit >> PAGE_SHIFT)));
  EXPECT_EQ(pfn_to_page(noinit >> PAGE_SHIFT)->private_, 42u);
  EXPECT_TRUE(VerifyOneOwner());
  memblock_phys_free(kept, 5 * PAGE_SIZE);
  EXPECT_EQ(FreePages(), frames - 1);
  EXPECT_TRUE(VerifyOneOwner());
}

}  // namespace
}  // namespace sim
