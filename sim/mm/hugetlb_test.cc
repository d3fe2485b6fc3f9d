// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlb.h"

#include "sim/mm/filemap.h"
#include "sim/mm/hugetlb_test_kernel.h"
#include "sim/mm/hugetlbfs.h"
#include "sim/mm/memmap.h"
#include "sim/mm/offline.h"
#include "sim/mm/pin.h"

namespace sim {
namespace {

class HugetlbBootTest : public HugetlbTest {
 protected:
  // Pages of the size on node 0 and 1.
  std::pair<uint64_t, uint64_t> Nodes(uint64_t size) const {
    CheckPools();
    return {Counters(size, 0).nr, Counters(size, 1).nr};
  }
  static std::pair<uint64_t, uint64_t> P(uint64_t a, uint64_t b) {
    return {a, b};
  }
};

TEST_F(HugetlbBootTest, AllSizesAreKnownWithoutAnyParameter) {
  BootKernel("");
  EXPECT_EQ(NrPageSizes(), 3);
  EXPECT_EQ(PageSizeAt(0), k16K);
  EXPECT_EQ(PageSizeAt(1), k64K);
  EXPECT_EQ(PageSizeAt(2), k256K);
  EXPECT_EQ(DefaultPageSize(), k64K);
  EXPECT_EQ(Nodes(k64K), P(0, 0));
}

TEST_F(HugetlbBootTest, CountsAreSpreadOverNodes) {
  BootKernel("hugepagesz=16K hugepages=5 hugepagesz=256K hugepages=3");
  EXPECT_EQ(Nodes(k16K), P(3, 2));
  EXPECT_EQ(Nodes(k256K), P(2, 1));
  EXPECT_EQ(Counters(k256K).max, 3u);
}

TEST_F(HugetlbBootTest, PerNodeCounts) {
  BootKernel("hugepagesz=64K hugepages=0:1,1:4 hugepagesz=256K hugepages=1:2");
  EXPECT_EQ(Nodes(k64K), P(1, 4));
  EXPECT_EQ(Nodes(k256K), P(0, 2));
  EXPECT_EQ(Counters(k64K).max, 5u);
}

TEST_F(HugetlbBootTest, HugepagesFirstMeansTheDefaultSize) {
  BootKernel("hugepages=4 hugepagesz=16K hugepages=2");
  EXPECT_EQ(Nodes(k64K), P(2, 2));
  EXPECT_EQ(Nodes(k16K), P(1, 1));
}

TEST_F(HugetlbBootTest, DefaultSizeTakesTheCountBeforeIt) {
  BootKernel("hugepages=0:3 default_hugepagesz=16K");
  EXPECT_EQ(DefaultPageSize(), k16K);
  EXPECT_EQ(Nodes(k16K), P(3, 0));
}

// memmap_init_reserved_pages() leaves tail pages to whoever took the page.
TEST_F(HugetlbBootTest, TailPagesOfGigantic) {
  uint64_t head = 0;
  SetBootObserver([&head](std::string_view stage) {
    if (stage != "buddy") return;
    const auto uninit = [](uint64_t pfn) {
      return Map().uninit[pfn / 64] >> pfn % 64 & 1;
    };
    uint64_t tails = 0;
    for (uint64_t pfn = 0; pfn < Map().end_pfn; ++pfn) {
      if (OwnerOf(pfn) != Owner::kReserved || !uninit(pfn)) continue;
      if (tails++ == 0) head = pfn - 1;
    }
    EXPECT_EQ(tails, 63u);
    EXPECT_EQ(head % 64, 0u);
    EXPECT_FALSE(uninit(head));
  });
  BootKernel("hugepagesz=256K hugepages=1");
  SetBootObserver(nullptr);
  EXPECT_EQ(sim_uninit_pages, 0u);
  EXPECT_EQ(folio_pfn(pfn_folio(head + 63)), head);
  EXPECT_EQ(Nodes(k256K).first + Nodes(k256K).second, 1u);
}

TEST_F(HugetlbBootTest, ExplicitDefaultSizeMayFollow) {
  BootKernel("default_hugepagesz=256K hugepagesz=256K hugepages=2");
  EXPECT_EQ(DefaultPageSize(), k256K);
  EXPECT_EQ(Nodes(k256K), P(1, 1));
  EXPECT_FALSE(LogHas("twice"));
}

TEST_F(HugetlbBootTest, ImplicitCountBeatsExplicitOne) {
  BootKernel("hugepages=2 hugepagesz=64K hugepages=6");
  EXPECT_EQ(Nodes(k64K), P(1, 1));
  EXPECT_TRUE(LogHas("Ignoring hugepages=6"));
}

TEST_F(HugetlbBootTest, WrongParametersAreIgnored) {
  BootKernel(
      "hugepagesz=3M hugepages=7 hugepagesz=16K hugepages=2 hugepages=4 "
      "hugepagesz=16K hugepages=9 hugepagesz=256K hugepages=0:1,9:1");
  EXPECT_TRUE(LogHas("unsupported hugepagesz=3M"));
  EXPECT_TRUE(LogHas("does not follow a valid hugepagesz"));
  EXPECT_TRUE(LogHas("specified twice without interleaving"));
  EXPECT_TRUE(LogHas("Invalid hugepages parameter"));
  EXPECT_EQ(Nodes(k16K), P(1, 1));
  EXPECT_EQ(Nodes(k256K), P(0, 0));
}

TEST_F(HugetlbBootTest, MixedFormsAreInvalid) {
  BootKernel("hugepagesz=16K hugepages=0:2,3");
  EXPECT_EQ(Nodes(k16K), P(0, 0));
  EXPECT_TRUE(LogHas("Invalid hugepages parameter 3"));
}

TEST_F(HugetlbBootTest, ShortageIsReported) {
  BootKernel("hugepagesz=256K hugepages=1:1000 hugepagesz=64K hugepages=0:900");
  EXPECT_TRUE(LogHas("allocating 1000 of page size 256 KiB failed node1"));
  EXPECT_TRUE(LogHas("of page size 64.0 KiB failed node0"));
  EXPECT_EQ(Counters(k256K).max, Counters(k256K).nr);
  EXPECT_GT(Counters(k256K).nr, 0u);
}

TEST_F(HugetlbBootTest, MissingSizes) {
  config_.missing_sizes = {k256K};
  BootKernel("hugepagesz=256K hugepages=1 hugepages=2");
  EXPECT_EQ(NrPageSizes(), 2);
  EXPECT_TRUE(LogHas("unsupported hugepagesz=256K"));
  EXPECT_EQ(Nodes(k64K), P(1, 1));
  EXPECT_EQ(size_to_hstate(k256K), nullptr);
}

TEST_F(HugetlbBootTest, WithoutTheDefaultSizeThereIsNothing) {
  config_.missing_sizes = {k64K};
  BootKernel("hugepagesz=16K hugepages=1");
  EXPECT_EQ(NrPageSizes(), 0);
  EXPECT_EQ(Call<long>([] { return PTR_ERR(MemfdCreate(MFD_HUGETLB)); }),
            -ENOENT);
}

class HugetlbPoolTest : public HugetlbTest {
 protected:
  int Nr(uint64_t size, uint64_t count, int nid = -1) {
    const int ret =
        Call<int>([=] { return NrHugepagesStore(size, count, nid); }, "admin");
    CheckPools();
    return ret;
  }
};

TEST_F(HugetlbPoolTest, GrowsAndShrinks) {
  BootKernel("");
  const uint64_t free_pages = FreePages();
  for (uint64_t size : {k16K, k64K, k256K}) {
    EXPECT_EQ(Nr(size, 5), 0);
    EXPECT_EQ(Counters(size).nr, 5u);
    EXPECT_EQ(FreePages(), free_pages - 5 * (size >> PAGE_SHIFT));
    EXPECT_EQ(Nr(size, 4, 1), 0);
    EXPECT_EQ(Counters(size, 1).nr, 4u);
    EXPECT_EQ(Nr(size, 0, 0), 0);
    EXPECT_EQ(Counters(size, 0).nr, 0u);
    EXPECT_EQ(Nr(size, 0), 0);
    EXPECT_EQ(FreePages(), free_pages);
  }
  EXPECT_EQ(Nr(k16K, 1, 7), -ENOENT);
  EXPECT_EQ(NrHugepagesStore(1 << 20, 1, -1), -ENOENT);
}

TEST_F(HugetlbPoolTest, TakesWhatThereIs) {
  BootKernel("");
  EXPECT_EQ(Nr(k64K, ~uint64_t{0}, 1), 0);
  const HugepageCounters counters = Counters(k64K);
  EXPECT_GT(counters.nr, 10u);
  EXPECT_EQ(Counters(k64K, 0).nr, 0u);
  EXPECT_EQ(counters.max, counters.nr);
  EXPECT_EQ(Nr(k64K, 0), 0);
}

// Pages in use become surplus, go away when they are freed, and are taken back
// into the pool when it grows before that.
TEST_F(HugetlbPoolTest, PagesInUseBecomeSurplus) {
  BootKernel("hugepagesz=64K hugepages=4");
  struct file* file = Call<struct file*>([] {
    struct file* f = MemfdCreate(HugeFlag(k64K));
    EXPECT_EQ(VfsFallocate(f, 0, 0, 3 * k64K), 0);
    return f;
  });
  Nr(k64K, 0);
  EXPECT_EQ(Counters(k64K).nr, 3u);
  EXPECT_EQ(Counters(k64K).surplus, 3u);
  Nr(k64K, 2);
  EXPECT_EQ(Counters(k64K).nr, 3u);
  EXPECT_EQ(Counters(k64K).surplus, 1u);
  Run("p0", [&] { fput(file); });
  CheckPools();
  EXPECT_EQ(Counters(k64K).nr, 2u);
  EXPECT_EQ(Counters(k64K).free, 2u);
  EXPECT_EQ(Counters(k64K).surplus, 0u);
  CheckIdle();
}

TEST_F(HugetlbPoolTest, OvercommitBacksReservations) {
  BootKernel("hugepagesz=64K hugepages=1");
  const uint64_t free_pages = FreePages();
  struct mm_struct* mm = Call<struct mm_struct*>([] { return MmAlloc(); });
  struct file* file =
      Call<struct file*>([] { return MemfdCreate(HugeFlag(k64K)); });
  Mapping* mapping =
      Call<Mapping*>([&] { return Mmap(mm, file, 0, 3, kMapWrite); });
  EXPECT_EQ(PTR_ERR(mapping), -ENOMEM);
  CheckPools();
  EXPECT_EQ(NrOvercommitStore(k64K, 1), 0);
  mapping = Call<Mapping*>([&] { return Mmap(mm, file, 0, 3, kMapWrite); });
  EXPECT_EQ(PTR_ERR(mapping), -ENOMEM);
  CheckPools();
  EXPECT_EQ(Counters(k64K).nr, 1u);  // the surplus page went back
  EXPECT_EQ(NrOvercommitStore(k64K, 2), 0);
  mapping = Call<Mapping*>([&] { return Mmap(mm, file, 0, 3, kMapWrite); });
  ASSERT_FALSE(IS_ERR(mapping));
  CheckPools();
  EXPECT_EQ(Counters(k64K).surplus, 2u);
  EXPECT_EQ(Counters(k64K).resv, 3u);
  // A shared file keeps its reservations until it is gone.
  Run("p0", [&] { Munmap(mapping); });
  EXPECT_EQ(Counters(k64K).resv, 3u);
  Run("p0", [&] {
    fput(file);
    MmExit(mm);
  });
  CheckPools();
  CheckIdle();
  EXPECT_EQ(FreePages(), free_pages);
}

TEST_F(HugetlbPoolTest, BindTakesPagesOfTheNodeOnly) {
  BootKernel("hugepagesz=64K hugepages=0:2,1:2");
  Run("p0", [&] {
    struct file* file = MemfdCreate(HugeFlag(k64K));
    SetTaskBind(CurrentActor(), 1);
    EXPECT_EQ(VfsFallocate(file, 0, 0, 2 * k64K), 0);
    EXPECT_EQ(Counters(k64K, 1).free, 0u);
    EXPECT_EQ(VfsFallocate(file, 0, 0, 3 * k64K), -ENOSPC);
    SetTaskBind(CurrentActor(), -1);
    EXPECT_EQ(VfsFallocate(file, 0, 0, 3 * k64K), 0);
    EXPECT_EQ(Counters(k64K, 0).free, 1u);
    fput(file);
  });
  CheckPools();
  CheckIdle();
}

// A pool page that lies in a range that is needed elsewhere makes way.
TEST_F(HugetlbPoolTest, FreePageIsReplacedOrDissolved) {
  BootKernel("hugepagesz=64K hugepages=2");
  struct hstate* h = size_to_hstate(k64K);
  Run("admin", [&] {
    struct folio* folio =
        list_first_entry(&h->hugepage_freelists[0], struct folio, lru);
    const unsigned long pfn = folio_pfn(folio);
    EXPECT_EQ(replace_free_hugepage_folios(pfn, pfn + 16), 0);
    EXPECT_NE(folio_pfn(list_first_entry(&h->hugepage_freelists[0],
                                         struct folio, lru)),
              pfn);
    EXPECT_EQ(h->nr_huge_pages, 2u);
    folio = list_first_entry(&h->hugepage_freelists[0], struct folio, lru);
    EXPECT_EQ(dissolve_free_hugetlb_folio(folio), 0);
    EXPECT_EQ(h->nr_huge_pages, 1u);
    EXPECT_EQ(h->max_huge_pages, 1u);
  });
  CheckPools();
}

class DemotionTest : public HugetlbPoolTest {
 protected:
  int Demote(uint64_t size, uint64_t count, int nid = -1) {
    const int ret =
        Call<int>([=] { return NrDemoteStore(size, count, nid); }, "admin");
    CheckPools();
    return ret;
  }
};

TEST_F(DemotionTest, FreePagesBecomeSmallerOnes) {
  BootKernel("hugepages=2 hugepagesz=256K hugepages=0:1,1:2");
  const uint64_t free_pages = FreePages();
  EXPECT_EQ(Demote(k256K, 1, 1), 0);
  EXPECT_EQ(Counters(k256K, 0).nr, 1u);
  EXPECT_EQ(Counters(k256K, 1).nr, 1u);
  EXPECT_EQ(Counters(k256K).max, 2u);
  EXPECT_EQ(Counters(k64K, 0).free, 1u);
  EXPECT_EQ(Counters(k64K, 1).free, 5u);
  EXPECT_EQ(Counters(k64K).max, 6u);
  // All that there are, on any node; then there is none.
  EXPECT_EQ(Demote(k256K, 9), 0);
  EXPECT_EQ(Demote(k256K, 1), 0);
  EXPECT_EQ(Counters(k256K).nr, 0u);
  EXPECT_EQ(Counters(k64K).free, 14u);
  EXPECT_EQ(Demote(k64K, 1, 0), 0);
  EXPECT_EQ(Counters(k16K, 0).free, 4u);
  EXPECT_EQ(FreePages(), free_pages);
  // The pieces are pages like any others.
  Run("p0", [&] {
    struct file* file = MemfdCreate(HugeFlag(k16K));
    EXPECT_EQ(VfsFallocate(file, 0, 0, 4 * k16K), 0);
    fput(file);
  });
  for (uint64_t size : {k16K, k64K}) EXPECT_EQ(Nr(size, 0), 0);
  EXPECT_EQ(FreePages(), free_pages + (2 * k64K + 3 * k256K) / PAGE_SIZE);

  EXPECT_EQ(Demote(k16K, 1), -ENOENT);
  EXPECT_EQ(Demote(k256K, 1, 5), -ENOENT);
}

// demote_store() looks whether any page is not reserved, and forgets how many.
TEST_F(DemotionTest, ReservedPagesAreTakenAlong) {
  BootKernel("hugepagesz=64K hugepages=3");
  struct mm_struct* mm = Call<struct mm_struct*>([] { return MmAlloc(); });
  struct file* file =
      Call<struct file*>([] { return MemfdCreate(HugeFlag(k64K)); });
  Call<Mapping*>([&] { return Mmap(mm, file, 0, 2, kMapWrite); });
  EXPECT_EQ(Demote(k64K, 4), -EBUSY);
  EXPECT_TRUE(HugetlbReserveIsOff());
  EXPECT_EQ(Counters(k64K).free, 0u);
  EXPECT_EQ(Counters(k64K).resv, 2u);
  EXPECT_EQ(Counters(k16K).free, 12u);
  Run("p0", [&] {
    MmExit(mm);
    fput(file);
  });
  // Where all are reserved, none is taken.
  BootKernel("hugepagesz=64K hugepages=2");
  mm = Call<struct mm_struct*>([] { return MmAlloc(); });
  file = Call<struct file*>([] { return MemfdCreate(HugeFlag(k64K)); });
  Call<Mapping*>([&] { return Mmap(mm, file, 0, 2, kMapWrite); });
  EXPECT_EQ(Demote(k64K, 1), 0);
  EXPECT_EQ(Counters(k64K).free, 2u);
  EXPECT_FALSE(HugetlbReserveIsOff());
  Run("p0", [&] {
    MmExit(mm);
    fput(file);
  });
}

// mount -t hugetlbfs -o pagesize=64K,size=...,min_size=...
TEST_F(HugetlbPoolTest, MountsWithLimits) {
  BootKernel("hugepagesz=64K hugepages=4");
  auto mount = [this](long most, long least) {
    return Call<struct file*>(
        [=] { return HugetlbfsMountFile(k64K, most, least, false); });
  };
  auto fill = [this](struct file* file, loff_t from, loff_t pages) {
    return Call<int>(
        [=] { return VfsFallocate(file, 0, from * k64K, pages * k64K); });
  };
  EXPECT_EQ(PTR_ERR(mount(1, 2)), -EINVAL);
  EXPECT_EQ(PTR_ERR(mount(-1, 5)), -ENOMEM);

  struct file* file = mount(-1, 2);
  ASSERT_FALSE(IS_ERR(file));
  EXPECT_EQ(Counters(k64K).resv, 2u);
  EXPECT_EQ(fill(file, 0, 3), 0);
  EXPECT_EQ(Counters(k64K).resv, 0u);
  Run("p0", [&] { EXPECT_EQ(VfsTruncate(file, 0), 0); });
  EXPECT_EQ(Counters(k64K).resv, 2u);
  // With its last file the mount is gone.
  Run("p0", [&] { fput(file); });
  CheckIdle();

  file = mount(2, -1);
  EXPECT_EQ(fill(file, 0, 3), -ENOSPC);
  EXPECT_EQ(Counters(k64K).free, 2u);
  Run("p0", [&] {
    EXPECT_EQ(VfsTruncate(file, 0), 0);
    // A page that the pool does not have is taken from size= all the same.
    struct file* other = MemfdCreate(HugeFlag(k64K));
    EXPECT_EQ(VfsFallocate(other, 0, 0, 4 * k64K), 0);
    EXPECT_EQ(VfsFallocate(file, 0, 0, k64K), -ENOSPC);
    fput(other);
    EXPECT_EQ(VfsFallocate(file, 0, 0, 2 * k64K), -ENOSPC);
  });
  EXPECT_EQ(Counters(k64K).free, 3u);
  Run("p0", [&] { fput(file); });
  CheckIdle();
  const auto before = SlabInUse().objects;
  Run("p0", [] { SubpoolForgetStuck(); });
  EXPECT_EQ(SlabInUse().objects, before - 1);
}

class OfflineTest : public HugetlbPoolTest {
 protected:
  static constexpr uint64_t kBlock = 32;  // frames that go offline together

  int Offline(uint64_t pfn) {
    const int ret = Call<int>([=] { return MemoryBlockOffline(pfn); }, "admin");
    CheckPools();
    EXPECT_TRUE(VerifyOneOwner());
    return ret;
  }
  // A file of 16K pages, all in memory that nobody else uses.
  struct file* MakeFile(int pages) {
    return Call<struct file*>([=] {
      struct file* f = MemfdCreate(HugeFlag(k16K));
      SetTaskBind(CurrentActor(), 1);
      EXPECT_EQ(VfsFallocate(f, 0, 0, pages * static_cast<loff_t>(k16K)), 0);
      SetTaskBind(CurrentActor(), -1);
      return f;
    });
  }
  static struct folio* PageAt(struct file* file, pgoff_t index) {
    struct folio* folio = filemap_get_folio(file->f_mapping, index << 2);
    EXPECT_FALSE(IS_ERR(folio));
    folio_put(folio);
    return folio;
  }
  static uint64_t BlockOf(const struct folio* folio) {
    return folio_pfn(folio) / kBlock;
  }
};

TEST_F(OfflineTest, PagesInUseMoveFreeOnesAreDissolved) {
  BootKernel("hugepagesz=16K hugepages=0:2,1:8");
  struct file* file = MakeFile(3);
  const uint64_t block = BlockOf(PageAt(file, 1));
  const uint64_t free_pages = FreePages();
  EXPECT_EQ(Offline(block * kBlock), 0);
  for (pgoff_t i : {0, 1, 2}) {
    EXPECT_NE(BlockOf(PageAt(file, i)), block);
    EXPECT_EQ(folio_nid(PageAt(file, i)), 0);
  }
  // Two of them took free pages, one a fresh page; of the node's own none are
  // left, which all lay in the block.
  EXPECT_EQ(Counters(k16K, 0).nr, 3u);
  EXPECT_EQ(Counters(k16K, 0).free, 0u);
  EXPECT_EQ(Counters(k16K, 1).nr, 0u);
  EXPECT_EQ(Counters(k16K).max, 3u);
  EXPECT_EQ(FreePages(), free_pages + 7 * 4);
  // It is memory like any other again.
  EXPECT_EQ(Nr(k16K, 8, 1), 0);
  Run("p0", [&] { fput(file); });
  CheckIdle();
}

TEST_F(OfflineTest, PinnedPagesAreWaitedFor) {
  BootKernel("hugepagesz=16K hugepages=0:4,1:4");
  struct file* file = MakeFile(2);
  struct folio* folio = PageAt(file, 1);
  Run("p0", [&] { PinFolio(folio, 1); });
  EXPECT_EQ(Offline(folio_pfn(folio)), -EINTR);
  EXPECT_EQ(PageAt(file, 1), folio);
  EXPECT_NE(BlockOf(PageAt(file, 0)), BlockOf(folio));
  Run("p0", [&] { unpin_folio(folio); });
  EXPECT_EQ(Offline(folio_pfn(folio)), 0);
  EXPECT_NE(PageAt(file, 1), folio);
  Run("p0", [&] { fput(file); });
}

TEST_F(OfflineTest, WhatCannotMoveIsRefused) {
  BootKernel("hugepagesz=16K hugepages=0:2,1:4");
  // The kernel's own memory; a hole in the memory map.
  struct folio* own =
      Call<struct folio*>([] { return folio_alloc(GFP_KERNEL, 0); }, "admin");
  EXPECT_EQ(Offline(folio_pfn(own)), -EBUSY);
  Run("admin", [&] { folio_put(own); });
  EXPECT_EQ(Offline(0), -EINVAL);
  // A free page that is reserved.
  struct mm_struct* mm = Call<struct mm_struct*>([] { return MmAlloc(); });
  struct file* file =
      Call<struct file*>([] { return MemfdCreate(HugeFlag(k16K)); });
  Call<Mapping*>([&] { return Mmap(mm, file, 0, 6, kMapWrite); });
  const struct hstate* h = size_to_hstate(k16K);
  const uint64_t pfn =
      folio_pfn(list_first_entry(&h->hugepage_freelists[1], struct folio, lru));
  EXPECT_EQ(Offline(pfn), -EBUSY);
  EXPECT_EQ(Counters(k16K).free, 6u);
  Run("p0", [&] {
    MmExit(mm);
    fput(file);
  });
  EXPECT_EQ(Offline(pfn), 0);
  EXPECT_LT(Counters(k16K).nr, 6u);
}

}  // namespace
}  // namespace sim
