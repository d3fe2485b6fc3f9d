// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlb_vmemmap.h"

#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_test_kernel.h"
#include "sim/mm/offline.h"

namespace sim {
namespace {

constexpr char kOn[] =
    "hugetlb_free_vmemmap=on hugepagesz=16K hugepages=4 hugepagesz=64K "
    "hugepages=4 hugepagesz=256K hugepages=2";

class VmemmapTest : public HugetlbTest {
 protected:
  void TearDown() override {
    VmemmapVerify();
    HugetlbTest::TearDown();
  }

  static struct folio* FirstFree(uint64_t size, int nid = 0) {
    return list_first_entry(&size_to_hstate(size)->hugepage_freelists[nid],
                            struct folio, lru);
  }
  // Of each free page on that node.
  static int Optimized(uint64_t size, int nid = 0) {
    int nr = 0;
    struct folio* folio;
    list_for_each_entry(folio, &size_to_hstate(size)->hugepage_freelists[nid],
                        lru) {
      nr += folio_test_hugetlb_vmemmap_optimized(folio);
    }
    return nr;
  }
  int Resize(uint64_t size, uint64_t nr, int nid = -1) {
    return Call<int>([=] { return NrHugepagesStore(size, nr, nid); }, "admin");
  }
  // The nth restore of page structures has no memory.
  void Fail(int nth) { machine_.set_fault_plan({FailKind::kRace, nth}); }
};

TEST_F(VmemmapTest, IsOffUnlessAskedFor) {
  for (const char* line :
       {"hugepages=2", "hugetlb_free_vmemmap=off hugepages=2",
        "hugetlb_free_vmemmap=on hugetlb_free_vmemmap=off hugepages=2"}) {
    BootKernel(line);
    EXPECT_EQ(Optimized(k64K), 0) << line;
  }
}

// From boot on, at run time, and both as pages of a pool and as surplus. Not
// where there is nothing to give back. In Linux 7.3 a page of 1 GiB that boot
// has optimized cannot be given back ("Bad page state"); that of 256 KiB, which
// is as gigantic here, can (docs/fidelity.md).
TEST_F(VmemmapTest, PagesOfPools) {
  BootKernel(kOn);
  EXPECT_EQ(Optimized(k64K), 2);
  EXPECT_EQ(Optimized(k256K), 1);
  EXPECT_EQ(Optimized(k16K), 0);
  EXPECT_EQ(Resize(k64K, 5, 0), 0);
  EXPECT_EQ(Resize(k256K, 2, 0), 0);
  EXPECT_EQ(Optimized(k64K), 5);
  EXPECT_EQ(Optimized(k256K), 2);
  EXPECT_EQ(Resize(k64K, 0), 0);
  EXPECT_EQ(Resize(k256K, 0), 0);
  EXPECT_EQ(Counters(k64K).nr, 0u);
  CheckPools();
}

// Surplus pages have been optimized, too, and go back.
TEST_F(VmemmapTest, SurplusPages) {
  BootKernel("hugetlb_free_vmemmap=on");
  ASSERT_EQ(NrOvercommitStore(k64K, 1), 0);
  struct file* file = MemfdCreate(HugeFlag(k64K));
  EXPECT_EQ(Call<int>([=] { return VfsFallocate(file, 0, 0, k64K); }), 0);
  struct folio* folio = filemap_get_folio(file->f_mapping, 0);
  EXPECT_TRUE(folio_test_hugetlb_vmemmap_optimized(folio));
  folio_put(folio);
  EXPECT_EQ(Counters(k64K).surplus, 1u);
  EXPECT_EQ(Run("p0", [=] { fput(file); }), RunResult::kDone);
  EXPECT_EQ(Counters(k64K).nr, 0u);
  CheckPools();
}

TEST_F(VmemmapTest, PiecesAreOptimizedAsTheirSizeAllows) {
  BootKernel(kOn);
  EXPECT_EQ(Call<int>([] { return NrDemoteStore(k256K, 1, 0); }, "admin"), 0);
  EXPECT_EQ(Counters(k64K, 0).nr, 6u);
  EXPECT_EQ(Optimized(k64K), 6);
  EXPECT_EQ(Call<int>([] { return NrDemoteStore(k64K, 6, 0); }, "admin"), 0);
  EXPECT_EQ(Counters(k16K, 0).nr, 2u + 24);
  EXPECT_EQ(Optimized(k16K), 0);
  CheckPools();
}

// A page whose page structures cannot be had again stays in the pool, as
// surplus.
TEST_F(VmemmapTest, NoMemoryToShrink) {
  BootKernel(kOn);
  Fail(2);
  EXPECT_EQ(Resize(k64K, 0), 0);
  EXPECT_TRUE(machine_.fault_fired());
  EXPECT_EQ(Counters(k64K).nr, 1u);
  EXPECT_EQ(Counters(k64K).surplus, 1u);
  EXPECT_EQ(Counters(k64K).free, 1u);
  EXPECT_EQ(Optimized(k64K, 0) + Optimized(k64K, 1), 1);
  CheckPools();
  EXPECT_EQ(Resize(k64K, 1), 0);
  EXPECT_EQ(Counters(k64K).surplus, 0u);
  EXPECT_EQ(Resize(k64K, 0), 0);
  EXPECT_EQ(Counters(k64K).nr, 0u);
}

TEST_F(VmemmapTest, NoMemoryToDemote) {
  BootKernel(kOn);
  Fail(2);
  EXPECT_EQ(Call<int>([] { return NrDemoteStore(k64K, 2, 1); }, "admin"),
            -ENOMEM);
  EXPECT_EQ(Counters(k64K, 1).nr, 1u);
  EXPECT_EQ(Counters(k64K).max, 3u);
  EXPECT_EQ(Counters(k64K).surplus, 0u);
  EXPECT_EQ(Counters(k16K, 1).nr, 2u + 4);
  EXPECT_EQ(Optimized(k64K, 1), 1);
  CheckPools();
}

TEST_F(VmemmapTest, NoMemoryToDissolve) {
  BootKernel("hugetlb_free_vmemmap=on hugepages=1:2");
  const uint64_t pfn = folio_pfn(FirstFree(k64K, 1));
  auto offline = [=] { return MemoryBlockOffline(pfn); };
  Fail(1);
  EXPECT_EQ(Call<int>(offline, "admin"), -ENOMEM);
  EXPECT_TRUE(machine_.fault_fired());
  EXPECT_EQ(Counters(k64K, 1).nr, 2u);
  EXPECT_EQ(Counters(k64K).max, 2u);
  EXPECT_EQ(Counters(k64K).surplus, 0u);
  CheckPools();
  EXPECT_EQ(Call<int>(offline, "admin"), 0);
  EXPECT_LT(Counters(k64K, 1).nr, 2u);
  CheckPools();
}

// What was given back must not be written to. That is seen at once, and at last
// when it comes back.
class VmemmapWriteTest : public VmemmapTest {
 protected:
  void TearDown() override {
    EXPECT_EQ(machine_.violations().size(), expected_);
    for (const Violation& v : machine_.violations()) {
      EXPECT_EQ(v.property, "discipline");
      EXPECT_NE(v.what.find("optimized away"), std::string::npos) << v.what;
    }
    ResetActors();
  }
  size_t expected_ = 0;
};

TEST_F(VmemmapWriteTest, IsSeen) {
  BootKernel(kOn);
  struct folio* folio = FirstFree(k256K);
  for (const uint64_t i : {uint64_t{4}, uint64_t{63}}) {
    struct page* page = folio_page(folio, i);
    const struct page was = *page;
    page->_refcount.counter = 1;
    VmemmapVerify();
    *page = was;
    page->index = 0;
    VmemmapVerify();
    *page = was;
    page->flags |= 1;
    VmemmapVerify();
    *page = was;
    expected_ += 3;
  }
  // What stays may be written to.
  folio_page(folio, 3)->index = 1;
  VmemmapVerify();
}

TEST_F(VmemmapWriteTest, IsSeenWhenItComesBack) {
  BootKernel(kOn);
  folio_page(FirstFree(k64K), 15)->private_ = 0;
  EXPECT_EQ(Resize(k64K, 0), 0);
  expected_ = 1;
}

}  // namespace
}  // namespace sim
