// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlb_cma.h"

#include <utility>
#include <vector>

#include "sim/mm/buddy.h"
#include "sim/mm/cma.h"
#include "sim/mm/hugetlb_test_kernel.h"
#include "sim/mm/memmap.h"

namespace sim {
namespace {

class HugetlbCmaTest : public HugetlbTest {
 protected:
  explicit HugetlbCmaTest(int nodes = 2) : HugetlbTest("small", nodes) {}

  // Node and number of gigantic pages of each area.
  using AreaList = std::vector<std::pair<int, uint64_t>>;
  static AreaList Areas() {
    AreaList areas;
    for (const CmaArea& area : CmaAreas())
      areas.emplace_back(area.nid, area.count >> 6);
    return areas;
  }

  void SetNr(uint64_t size, uint64_t nr, int nid = -1) {
    EXPECT_EQ(
        Call<int>([=] { return NrHugepagesStore(size, nr, nid); }, "admin"), 0);
  }

  // Of the pages in the pool, those out of an area.
  static uint64_t FromAreas(uint64_t size) {
    uint64_t pages = 0;
    struct hstate* h = size_to_hstate(size);
    for (const struct list_head& list : h->hugepage_freelists) {
      struct folio* folio;
      list_for_each_entry(folio, const_cast<struct list_head*>(&list), lru) {
        const bool cma = folio_test_hugetlb_cma(folio);
        EXPECT_EQ(CmaIntersects(folio_pfn(folio), 1), cma);
        EXPECT_EQ(PageblockType(folio_pfn(folio)) == MIGRATE_CMA, cma);
        pages += cma;
      }
    }
    return pages;
  }

  static uint64_t Available() {
    uint64_t pages = 0;
    for (const CmaArea& area : CmaAreas()) pages += area.available_count;
    return pages;
  }
};

TEST_F(HugetlbCmaTest, AreasGiveAndTake) {
  BootKernel("hugetlb_cma=0:256K,1:512K hugepagesz=256K hugepages=2");
  EXPECT_EQ(Areas(), (AreaList{{0, 1}, {1, 2}}));
  EXPECT_TRUE(LogHas("hugetlb_cma is enabled, skip boot time allocation"));
  EXPECT_EQ(Counters(k256K).nr, 0u);
  EXPECT_EQ(Available(), 3u * 64);
  EXPECT_EQ(FreeCmaPagesOfNode(0), 64u);
  EXPECT_EQ(FreeCmaPagesOfNode(1), 128u);
  const uint64_t before = FreePages();

  // The areas first, then what there is elsewhere.
  SetNr(k256K, 5);
  EXPECT_EQ(Counters(k256K).nr, 5u);
  EXPECT_EQ(FromAreas(k256K), 3u);
  EXPECT_EQ(Available(), 0u);
  EXPECT_EQ(FreePages(), before - 5 * 64);
  SetNr(k256K, 0);
  EXPECT_EQ(Available(), 3u * 64);
  EXPECT_EQ(FreePages(), before);
  EXPECT_EQ(FreeCmaPagesOfNode(1), 128u);
  // Only the node that is asked for.
  SetNr(k256K, 2, 0);
  EXPECT_EQ(FromAreas(k256K), 1u);
}

TEST_F(HugetlbCmaTest, OthersMakeWay) {
  BootKernel("hugetlb_cma=1:512K hugepagesz=256K");
  // As many movable pages as there are, so that some lie in the area.
  SetNr(k64K, 60, 1);
  uint64_t inside = 0;
  for (const CmaRange& range : CmaAreas()[0].ranges) {
    for (uint64_t pfn = range.base_pfn; pfn < range.base_pfn + range.count;
         pfn += 16)
      inside += folio_test_hugetlb(
          reinterpret_cast<struct folio*>(CompoundHead(pfn)));
  }
  EXPECT_GT(inside, 0u);
  EXPECT_EQ(FromAreas(k256K), 0u);
  SetNr(k64K, 8, 1);
  SetNr(k256K, 2, 1);
  EXPECT_EQ(FromAreas(k256K), 2u);
  EXPECT_EQ(Counters(k64K, 1).nr, 8u);
}

TEST_F(HugetlbCmaTest, FromNowhereElse) {
  BootKernel(
      "hugetlb_cma=512K hugetlb_cma_only=on hugepagesz=256K hugepages=3");
  EXPECT_EQ(Areas(), (AreaList{{0, 1}, {1, 1}}));
  EXPECT_EQ(Counters(k256K).nr, 2u);
  EXPECT_EQ(FromAreas(k256K), 2u);
  EXPECT_EQ(Available(), 0u);
  SetNr(k256K, 4);
  EXPECT_EQ(Counters(k256K).nr, 2u);
  SetNr(k256K, 0);
  EXPECT_EQ(Available(), 2u * 64);
  SetNr(k256K, 4);
  EXPECT_EQ(FromAreas(k256K), 2u);
}

TEST_F(HugetlbCmaTest, PiecesGoBack) {
  BootKernel("hugetlb_cma=0:256K hugepagesz=256K hugepagesz=16K");
  SetNr(k256K, 1);
  EXPECT_EQ(Call<int>([] { return NrDemoteStore(k256K, 1, -1); }, "admin"), 0);
  EXPECT_EQ(FromAreas(k64K), 4u);
  // A bit of the area's map is as large as the default size.
  EXPECT_EQ(Call<int>([] { return NrDemoteStore(k64K, 1, -1); }, "admin"),
            -ENOENT);
  SetNr(k64K, 1);
  EXPECT_EQ(Available(), 48u);
  SetNr(k64K, 0);
  EXPECT_EQ(Available(), 64u);
}

TEST_F(HugetlbCmaTest, AskedWrongly) {
  BootKernel("hugetlb_cma=64K");
  EXPECT_EQ(Areas(), AreaList());
  EXPECT_TRUE(LogHas("cma area must be a multiple of"));
  BootKernel("hugetlb_cma=0:300K,6:256K,1:256K");
  EXPECT_EQ(Areas(), (AreaList{{1, 1}}));
  EXPECT_TRUE(LogHas("cma area of node 0 must be a multiple of"));
  EXPECT_TRUE(LogHas("invalid node 6 specified"));
  BootKernel("hugetlb_cma=101%");
  EXPECT_EQ(Areas(), AreaList());
  EXPECT_TRUE(LogHas("invalid percentage 101"));
  // More than there is: as if nothing had been asked for.
  BootKernel("hugetlb_cma=1:3M hugepagesz=256K hugepages=1");
  EXPECT_EQ(Areas(), AreaList());
  EXPECT_TRUE(LogHas("hugetlb_cma: reservation failed: err -12, node 1"));
  EXPECT_EQ(Counters(k256K).nr, 1u);
  // The last one counts, whole or by node.
  BootKernel("hugetlb_cma=0:256K hugetlb_cma=1M");
  EXPECT_EQ(Areas(), (AreaList{{0, 2}, {1, 2}}));
  BootKernel("hugetlb_cma=1M hugetlb_cma=1:25%");
  EXPECT_EQ(Areas(), (AreaList{{1, 2}}));
  config_.missing_sizes = {k256K};
  BootKernel("hugetlb_cma=256K");
  EXPECT_EQ(Areas(), AreaList());
  EXPECT_TRUE(LogHas("the option isn't supported by current arch"));
}

TEST_F(HugetlbCmaTest, NoMemoryForTheMap) {
  config_.cmdline = "hugetlb_cma=512K hugepagesz=256K";
  bool failed = false;
  for (int nth = 1; nth < 10 && !failed; ++nth) {
    machine_.set_fault_plan({FailKind::kAlloc, nth});
    ASSERT_TRUE(Boot(config_));
    failed = LogHas("CMA area hugetlb0 could not be activated");
    if (!failed) continue;
    machine_.set_fault_plan({});
    // Its memory is there for everybody, that of the other is not.
    EXPECT_EQ(Available(), 64u);
    EXPECT_EQ(FreeCmaPagesOfNode(0), 0u);
    EXPECT_EQ(FreeCmaPagesOfNode(1), 64u);
    SetNr(k256K, 3);
    EXPECT_EQ(FromAreas(k256K), 1u);
  }
  EXPECT_TRUE(failed);
}

TEST_F(HugetlbCmaTest, OfSeveralRanges) {
  // All memory is one node's, with holes in it.
  BootKernel("numa=off hugetlb_cma=3M hugepagesz=256K");
  EXPECT_EQ(Areas(), (AreaList{{0, 12}}));
  const CmaArea& area = CmaAreas()[0];
  ASSERT_EQ(area.ranges.size(), 2u);
  for (const CmaRange& range : area.ranges)
    EXPECT_GE(range.base_pfn << PAGE_SHIFT, machine_.geometry().cma_floor);
  SetNr(k256K, 12);
  EXPECT_EQ(FromAreas(k256K), 12u);
  SetNr(k256K, 0);
  EXPECT_EQ(Available(), 12u * 64);
}

class FourNodes : public HugetlbCmaTest {
 protected:
  FourNodes() : HugetlbCmaTest(4) {}
};

TEST_F(FourNodes, NoMoreThanIsAskedFor) {
  BootKernel("hugetlb_cma=768K");
  EXPECT_EQ(Areas(), (AreaList{{0, 1}, {1, 1}, {2, 1}}));
  BootKernel("hugetlb_cma=1280K");
  EXPECT_EQ(Areas(), (AreaList{{0, 2}, {1, 2}, {2, 1}}));
}

}  // namespace
}  // namespace sim
