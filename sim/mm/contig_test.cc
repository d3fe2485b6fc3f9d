// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/contig.h"

#include <random>
#include <vector>

#include "sim/mm/buddy.h"
#include "sim/mm/hugetlb_test_kernel.h"
#include "sim/mm/memmap.h"

namespace sim {
namespace {

class ContigTest : public HugetlbTest {
 protected:
  static constexpr unsigned long kNr = 64;  // frames of 256 KiB
  static constexpr gfp_t kGfp =
      GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOWARN;

  struct page* Take(int nid, gfp_t extra = 0) {
    return Call<struct page*>(
        [=] {
          return alloc_contig_frozen_pages(kNr, kGfp | extra, nid, nullptr);
        },
        "admin");
  }
};

TEST_F(ContigTest, TakesAndGivesBackFreeRanges) {
  BootKernel("kho=on liveupdate=on");
  const uint64_t before = FreePages();
  std::vector<struct page*> taken;
  while (struct page* page = Take(0)) {
    EXPECT_EQ(page_to_pfn(page) % kNr, 0u);
    EXPECT_EQ(page_ref_count(page), 0);
    EXPECT_EQ(folio_order(page_folio(page)), 6u);
    for (unsigned long i = 0; i < kNr; i += pageblock_nr_pages) {
      EXPECT_EQ(PageblockType(page_to_pfn(page) + i), MIGRATE_MOVABLE);
    }
    EXPECT_TRUE(VerifyOneOwner());
    taken.push_back(page);
  }
  EXPECT_GT(taken.size(), 2u);
  EXPECT_EQ(FreePages(), before - taken.size() * kNr);
  for (struct page* page : taken) free_frozen_pages(page, 6);
  EXPECT_EQ(FreePages(), before);
  EXPECT_TRUE(VerifyOneOwner());
  nodemask_t none = {};
  EXPECT_EQ(Call<struct page*>(
                [&] { return alloc_contig_frozen_pages(kNr, kGfp, 0, &none); }),
            nullptr);
  machine_.set_fault_plan({FailKind::kAlloc, 1});
  EXPECT_EQ(Take(1), nullptr);
}

TEST_F(ContigTest, UnmovablePagesAreInTheWay) {
  BootKernel("kho=on liveupdate=on");
  // One kernel page into each range of node 1 that could be had.
  std::vector<struct page*> taken, kept;
  while (struct page* page = Take(1, __GFP_THISNODE)) taken.push_back(page);
  ASSERT_FALSE(taken.empty());
  for (struct page* page : taken) free_frozen_pages(page, 6);
  std::vector<unsigned long> pages;
  std::vector<bool> hit(Map().end_pfn / kNr + 1);
  std::vector<struct page*> extra;
  while (struct page* page =
             sim_alloc_pages_node(1, GFP_KERNEL | __GFP_THISNODE, 0, nullptr)) {
    const uint64_t range = page_to_pfn(page) / kNr;
    (hit[range] ? extra : kept).push_back(page);
    hit[range] = true;
  }
  for (struct page* page : extra) __free_pages(page, 0);
  const uint64_t before = FreePages();
  EXPECT_EQ(Take(1, __GFP_THISNODE), nullptr);
  EXPECT_EQ(FreePages(), before);
  EXPECT_TRUE(VerifyOneOwner());
  for (struct page* page : kept) __free_pages(page, 0);
}

// Files of shmem and of small huge pages lie everywhere; large ranges are had
// all the same, and nothing that a process wrote is lost.
TEST_F(ContigTest, MovesFilesOutOfTheWay) {
  for (const bool huge : {false, true}) {
    BootKernel("kho=on liveupdate=on hugepagesz=16K hugepages=40");
    std::vector<struct page*> taken;
    Run("p0", [&] {
      struct mm_struct* mm = MmAlloc();
      std::vector<struct file*> files;
      std::vector<Mapping*> maps;
      const uint64_t size = huge ? k16K : PAGE_SIZE;
      for (int f = 0; f < 10; ++f) {
        struct file* file = MemfdCreate(huge ? HugeFlag(k16K) : 0);
        ASSERT_EQ(VfsTruncate(file, static_cast<loff_t>(16 * size)), 0);
        Mapping* map = Mmap(mm, file, 0, 16, kMapWrite | kMapNoReserve);
        ASSERT_NE(map, nullptr);
        for (unsigned long i = 0; i < (huge ? 3 : 16); ++i) {
          ASSERT_EQ(Store(map, i, 0, static_cast<u64>(f) * 100 + i), 0);
        }
        files.push_back(file);
        maps.push_back(map);
      }
      for (int i = 0; i < 20; ++i) {
        struct page* page =
            alloc_contig_frozen_pages(kNr, kGfp, i % 2, nullptr);
        if (page == nullptr) break;
        taken.push_back(page);
        ASSERT_TRUE(VerifyOneOwner());
      }
      for (size_t f = 0; f < files.size(); ++f) {
        for (unsigned long i = 0; i < (huge ? 3 : 16); ++i) {
          u64 value = 0;
          ASSERT_EQ(Load(maps[f], i, 0, &value), 0);
          ASSERT_EQ(value, f * 100 + i);
        }
      }
      MmExit(mm);
      for (struct file* file : files) fput(file);
    });
    CheckPools();
    EXPECT_EQ(Counters(k16K).nr, 40u);
    // More than lay free at once: something was moved.
    EXPECT_GT(taken.size(), 6u);
    for (struct page* page : taken) free_frozen_pages(page, 6);
    EXPECT_TRUE(VerifyOneOwner());
  }
}

TEST_F(ContigTest, IsolationIsUndone) {
  BootKernel("kho=on liveupdate=on");
  const uint64_t before = FreePages();
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const uint64_t blocks = Map().end_pfn / pageblock_nr_pages;
    const uint64_t first = random() % blocks;
    const uint64_t start = first * pageblock_nr_pages;
    const uint64_t end = start + (1 + random() % 6) * pageblock_nr_pages;
    bool exists = end <= Map().end_pfn;
    for (uint64_t p = start; exists && p < end; ++p) {
      exists = pfn_valid(p) && pfn_to_nid(p) == pfn_to_nid(start);
    }
    if (!exists) continue;
    if (StartIsolatePageRange(start, end) == 0) {
      EXPECT_EQ(PageblockType(start), MIGRATE_ISOLATE);
      EXPECT_TRUE(VerifyOneOwner());
      UndoIsolatePageRange(start, end);
    }
    ASSERT_TRUE(VerifyOneOwner());
    ASSERT_EQ(FreePages(), before);
  }
}

}  // namespace
}  // namespace sim
