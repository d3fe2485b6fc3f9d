// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/pin.h"

#include <vector>

#include "sim/mm/buddy.h"
#include "sim/mm/folio.h"
#include "sim/mm/hugetlb_test_kernel.h"
#include "sim/mm/memmap.h"
#include "sim/mm/migrate.h"

namespace sim {
namespace {

class PinTest : public HugetlbTest {
 protected:
  static struct folio* FolioAt(struct file* file, pgoff_t index) {
    return static_cast<struct folio*>(
        xa_load(&file->f_mapping->i_pages, index));
  }
  static bool InCma(const struct folio* folio) {
    return PageblockType(folio_pfn(folio)) == MIGRATE_CMA;
  }

  std::vector<struct folio*> folios_ = std::vector<struct folio*>(64);
  pgoff_t offset_ = 0;
};

TEST_F(PinTest, PinsWhatIsThereAndFillsHoles) {
  BootKernel("kho=on liveupdate=on hugepagesz=16K hugepages=8");
  Run("p0", [&] {
    struct file* file = MemfdCreate(HugeFlag(k16K));
    ASSERT_EQ(VfsTruncate(file, 4 * k16K), 0);
    ASSERT_EQ(VfsFallocate(file, 0, k16K, k16K), 0);
    struct folio* there = FolioAt(file, 4);
    ASSERT_NE(there, nullptr);
    // Behind the end of the file, and nonsense.
    EXPECT_EQ(memfd_pin_folios(file, 0, 4 * k16K, folios_.data(), 64, &offset_),
              -EINVAL);
    EXPECT_EQ(memfd_pin_folios(file, 8, 4, folios_.data(), 64, &offset_),
              -EINVAL);
    EXPECT_EQ(memfd_pin_folios(file, 0, 1, folios_.data(), 0, &offset_),
              -EINVAL);
    EXPECT_EQ(memfd_pin_folios(nullptr, 0, 1, folios_.data(), 1, &offset_),
              -EINVAL);
    EXPECT_EQ(memfd_pin_folios(file, k16K + 5, 3 * k16K - 1, folios_.data(), 64,
                               &offset_),
              2);
    EXPECT_EQ(offset_, 5u);
    EXPECT_EQ(folios_[0], there);
    EXPECT_EQ(folios_[1], FolioAt(file, 8));
    EXPECT_EQ(FolioAt(file, 0), nullptr);
    EXPECT_TRUE(folio_maybe_dma_pinned(there));
    EXPECT_EQ(folio_ref_count(there), 4 + 1);
    // A pinned folio does not move.
    LIST_HEAD(list);
    EXPECT_TRUE(IsolateFolio(there, &list));
    EXPECT_EQ(MigrateFolios(&list, NUMA_NO_NODE, GFP_USER, MR_LONGTERM_PIN), 1);
    PutbackFolios(&list);
    EXPECT_EQ(FolioAt(file, 4), there);
    unpin_folios(folios_.data(), 2);
    EXPECT_FALSE(folio_maybe_dma_pinned(there));
    fput(file);
  });
  CheckPools();
  CheckIdle();
}

TEST_F(PinTest, AShmemFolioIsPinnedByItsReferences) {
  BootKernel("kho=on liveupdate=on");
  const uint64_t before = FreePages();
  Run("p0", [&] {
    struct file* file = MemfdCreate(0);
    ASSERT_EQ(VfsTruncate(file, 3 * PAGE_SIZE), 0);
    EXPECT_EQ(memfd_pin_folios(file, 0, 3 * PAGE_SIZE - 1, folios_.data(), 64,
                               &offset_),
              3);
    EXPECT_GE(folio_ref_count(folios_[0]), kPinBias);
    EXPECT_TRUE(folio_maybe_dma_pinned(folios_[2]));
    EXPECT_FALSE(InCma(folios_[0]));
    unpin_folios(folios_.data(), 3);
    fput(file);
  });
  EXPECT_EQ(FreePages(), before);
}

// Whatever lies in scratch is moved, with its bytes, for both kinds of file.
TEST_F(PinTest, MovesFoliosOutOfCma) {
  BootKernel("kho=on liveupdate=on hugepagesz=16K hugepages=4");
  for (const bool huge : {true, false}) {
    Run("p0", [&] {
      const uint64_t size = huge ? k16K : PAGE_SIZE;
      const unsigned order = huge ? 2 : 0;
      struct mm_struct* mm = MmAlloc();
      struct file* file = MemfdCreate(huge ? HugeFlag(k16K) : 0);
      const unsigned long nr = huge ? 4 : 8;
      ASSERT_EQ(VfsTruncate(file, static_cast<loff_t>(nr * size)), 0);
      Mapping* map = Mmap(mm, file, 0, nr, kMapWrite);
      for (unsigned long i = 0; i < nr; ++i) {
        ASSERT_EQ(Store(map, i, 8, 1000 + i), 0);
      }
      // Declare every other folio's pageblock scratch.
      std::vector<struct folio*> old;
      std::vector<uint64_t> blocks;
      for (unsigned long i = 0; i < nr; ++i) {
        old.push_back(FolioAt(file, i << order));
      }
      // The pageblock of the first one becomes CMA while it is in use, which
      // needs its free pages moved as well.
      const uint64_t block = folio_pfn(old[0]) & ~(pageblock_nr_pages - 1);
      const int was = PageblockType(block);
      if (was != MIGRATE_CMA) {
        MoveFreePagesBlock(&ZoneOf(pfn_to_nid(block)), block, was, MIGRATE_CMA);
        SetPageblockType(block, MIGRATE_CMA);
      }
      EXPECT_EQ(memfd_pin_folios(file, 0, static_cast<loff_t>(nr * size) - 1,
                                 folios_.data(), 64, &offset_),
                huge ? static_cast<long>(nr) : static_cast<long>(nr));
      EXPECT_NE(FolioAt(file, 0), old[0]);
      u64 value = 0;
      for (unsigned long i = 0; i < nr; ++i) {
        EXPECT_FALSE(InCma(folios_[i]));
        EXPECT_EQ(folios_[i], FolioAt(file, i << order));
        EXPECT_EQ(Load(map, i, 8, &value), 0);
        EXPECT_EQ(value, 1000 + i);
        EXPECT_EQ(MappedFolio(map, i), folios_[i]);
      }
      unpin_folios(folios_.data(), nr);
      MmExit(mm);
      fput(file);
    });
    CheckPools();
    CheckIdle();
    EXPECT_TRUE(VerifyOneOwner());
  }
}

TEST_F(PinTest, UnwindsWhenAHoleCannotBeFilled) {
  BootKernel("kho=on liveupdate=on hugepagesz=16K hugepages=2");
  Run("p0", [&] {
    struct file* file = MemfdCreate(HugeFlag(k16K));
    ASSERT_EQ(VfsTruncate(file, 4 * k16K), 0);
    EXPECT_EQ(
        memfd_pin_folios(file, 0, 4 * k16K - 1, folios_.data(), 64, &offset_),
        -ENOMEM);
    struct folio* first = FolioAt(file, 0);
    ASSERT_NE(first, nullptr);
    EXPECT_FALSE(folio_maybe_dma_pinned(first));
    EXPECT_EQ(folio_ref_count(first), 4);
    machine_.set_fault_plan({FailKind::kOther, 1});
    EXPECT_EQ(memfd_pin_folios(file, 0, 1, folios_.data(), 64, &offset_),
              -ENOMEM);
    machine_.set_fault_plan({});
    EXPECT_FALSE(sim_memalloc_pin());
    fput(file);
  });
  CheckPools();
  CheckIdle();
}

}  // namespace
}  // namespace sim
