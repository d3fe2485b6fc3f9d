// SPDX-License-Identifier: BSD-3-Clause
//
// How much memory the next kernel needs for what comes, with page structures
// optimized away (HVO) in either kernel, in both, in none: nothing in
// proportion to pages but nodes of the page cache, and while the table is
// checked 24 bytes for each run.
#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "sim/exec/table_view.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/liveupdate/test_kernel.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/hugetlb_vmemmap.h"
#include "sim/mm/memfd.h"
#include "sim/mm/slab.h"
#include "sim/mm/vfs.h"

namespace sim {
namespace {

constexpr unsigned kOrder = 4;
constexpr loff_t kPageSize = PAGE_SIZE << kOrder;
constexpr int kFew = 64;
constexpr int64_t kSpan = 24;  // what is kept of a run while it is checked

Geometry OneNode() {
  Geometry g;
  g.name = "memory";
  g.nodes = 1;
  g.max_page_order = 10;
  g.pageblock_order = 9;
  g.huge_orders = {kOrder};
  g.hpage_order = kOrder;
  g.vmemmap_reserve = 4;
  g.kho_ext_block = 1 << 30;
  g.scratch_lowmem = g.scratch_global = g.scratch_pernode = 4 << 20;
  g.spans.push_back({8192, 16384, 0});
  return g;
}

// Bytes of kmalloc(), and frames of those who take pages.
struct Use {
  int64_t bytes = 0;
  int64_t peak = 0;
  int64_t nodes = 0;   // of the page cache, and of other xarrays
  int64_t frames = 0;  // that are not free, without those of kmalloc()

  static Use Now() {
    Use use;
    const SlabUse slabs = SlabInUse();
    use.bytes = static_cast<int64_t>(slabs.bytes);
    use.peak = static_cast<int64_t>(slabs.peak);
    for (const std::string& line : SlabLiveObjects())
      use.nodes += absl::EndsWith(line, " by Store");
    use.frames = -static_cast<int64_t>(FreePagesOfNode(0) +
                                       FramesOwned(0, Owner::kSlab));
    return use;
  }
  Use operator-(const Use& before) const {
    return {bytes - before.bytes, peak - before.bytes, nodes - before.nodes,
            frames - before.frames};
  }
};

struct Plan {
  int pages = kFew;  // of one file, or that are free
  bool scattered = false;
  bool free = false;
  bool finish = false;  // instead of retrieving
  bool hvo_old = false, hvo_new = false;
};

struct Needs {
  int64_t runs = 0;
  Use import;  // and filling the pools
  Use claim;   // retrieving, or finishing
};

class MemoryTest : public KernelTest {
 protected:
  MemoryTest() : KernelTest(OneNode()) { config_.has_luo_hugetlb = true; }

  void Configure(const Plan& plan, bool hvo) {
    config_.cmdline = absl::StrCat(
        "kho=on liveupdate=on hugetlb_free_vmemmap=", hvo ? "on" : "off",
        " hugepagesz=64K hugepages=", plan.free ? plan.pages : 5 * kFew);
  }

  static struct file* MakeFile(const Plan& plan) {
    constexpr unsigned kShift = PAGE_SHIFT + kOrder;
    struct file* file =
        MemfdCreate(MFD_HUGETLB | MFD_EXEC | kShift << MFD_HUGE_SHIFT);
    EXPECT_EQ(VfsTruncate(file, plan.pages * kPageSize), 0);
    for (int i = 0; i < plan.pages; ++i) {
      const int at = plan.scattered ? plan.pages - 1 - i : i;
      EXPECT_EQ(
          VfsFallocate(file, FALLOC_FL_KEEP_SIZE, at * kPageSize, kPageSize),
          0);
    }
    return file;
  }

  static int64_t CountRuns() {
    size_t runs = 0;
    for (const auto& file : ReadTableView().files)
      for (const auto& block : file.runs.blocks) runs += block.runs.size();
    return static_cast<int64_t>(runs);
  }

  // How many of the pages that are free, or in the file, are optimized.
  static int OptimizedFree() {
    int nr = 0;
    struct folio* folio;
    list_for_each_entry(
        folio, &size_to_hstate(kPageSize)->hugepage_freelists[0], lru) {
      nr += folio_test_hugetlb_vmemmap_optimized(folio);
    }
    return nr;
  }
  static int OptimizedIn(struct file* file, int pages) {
    int nr = 0;
    for (int i = 0; i < pages; ++i) {
      struct folio* folio =
          filemap_get_folio(file->f_mapping, static_cast<pgoff_t>(i) << kOrder);
      EXPECT_FALSE(IS_ERR(folio));
      nr += folio_test_hugetlb_vmemmap_optimized(folio);
      folio_put(folio);
    }
    return nr;
  }

  // One update of a machine that was just switched on.
  void Update(const Plan& plan, Needs* needs) {
    Configure(plan, plan.hvo_old);
    ASSERT_TRUE(PowerCut(config_));
    ASSERT_EQ(LuoOpen(), 0);
    struct file* session = nullptr;
    if (plan.free) {
      ASSERT_EQ(PreserveFreeStore(kPageSize, true), 0);
    } else {
      ASSERT_EQ(SessionCreate("s", &session), 0);
      struct file* file = MakeFile(plan);
      ASSERT_EQ(OptimizedIn(file, plan.pages), plan.hvo_old ? plan.pages : 0);
      ASSERT_EQ(PreserveFd(session, 1, file), 0);
    }
    ASSERT_EQ(RebootCall(), 0);
    needs->runs = CountRuns();

    Configure(plan, plan.hvo_new);
    Use before;
    SetBootObserver([&](std::string_view stage) {
      if (stage == "buddy") {
        SlabResetPeak();
        before = Use::Now();
      } else if (stage == "hugetlb") {
        needs->import = Use::Now() - before;
      }
    });
    ASSERT_TRUE(Kexec(config_));
    SetBootObserver(nullptr);
    const auto pool =
        static_cast<int>(size_to_hstate(kPageSize)->free_huge_pages);
    EXPECT_EQ(pool, plan.free ? plan.pages : 5 * kFew - plan.pages);
    EXPECT_EQ(OptimizedFree(), plan.hvo_new ? pool : 0);
    if (plan.free) return;
    needs->import.frames -= pool << kOrder;

    ASSERT_EQ(LuoOpen(), 0);
    ASSERT_EQ(SessionRetrieve("s", &session), 0);
    SlabResetPeak();
    before = Use::Now();
    if (plan.finish) {
      ASSERT_EQ(Finish(session), 0);
      needs->claim = Use::Now() - before;
    } else {
      struct file* file = nullptr;
      ASSERT_EQ(RetrieveFd(session, 1, &file), 0);
      needs->claim = Use::Now() - before;
      EXPECT_EQ(OptimizedIn(file, plan.pages), 0);
    }
    VmemmapVerify();
  }

  // The same with few pages and with four times as many.
  struct Two {
    Needs few, many;
  };
  Two Compare(Plan plan) {
    Two two;
    plan.pages = kFew;
    Update(plan, &two.few);
    plan.pages = 4 * kFew;
    Update(plan, &two.many);
    return two;
  }

  // What is left when the pools are filled, and what was needed until then.
  static void ExpectOfImport(const Two& two) {
    EXPECT_EQ(two.many.import.bytes, two.few.import.bytes);
    EXPECT_EQ(two.many.import.frames, two.few.import.frames);
    EXPECT_EQ(two.many.import.peak - two.few.import.peak,
              kSpan * (two.many.runs - two.few.runs));
  }
};

constexpr std::array<std::array<bool, 2>, 4> kHvo = {
    {{false, false}, {true, false}, {false, true}, {true, true}}};

std::string Name(const std::array<bool, 2>& hvo, bool scattered) {
  return absl::StrCat("HVO ", hvo[0] ? "on" : "off", ", then ",
                      hvo[1] ? "on" : "off", scattered ? ", scattered" : "");
}

TEST_F(MemoryTest, RetrievingTakesNodesOfThePageCache) {
  for (const auto& hvo : kHvo) {
    for (const bool scattered : {false, true}) {
      SCOPED_TRACE(Name(hvo, scattered));
      const Two two = Compare(
          {.scattered = scattered, .hvo_old = hvo[0], .hvo_new = hvo[1]});
      if (scattered) {
        EXPECT_EQ(two.few.runs, kFew);
        EXPECT_EQ(two.many.runs, 4 * kFew);
      } else {
        EXPECT_LT(two.many.runs, 10);
      }
      ExpectOfImport(two);

      // A node has 64 slots, of which a page takes 16.
      const Use &few = two.few.claim, &many = two.many.claim;
      const int64_t nodes = many.nodes - few.nodes;
      EXPECT_EQ(nodes, 3 * kFew / 4);
      // Next to 64 pointers it has few words.
      const int64_t bytes = many.bytes - few.bytes;
      EXPECT_GE(bytes, nodes * 512);
      EXPECT_LE(bytes, nodes * 576);
      EXPECT_EQ(bytes % nodes, 0);
      EXPECT_EQ(many.peak - few.peak, bytes);
      EXPECT_LE(many.frames, few.frames);  // blocks of the table go
    }
  }
}

TEST_F(MemoryTest, FinishingTakesNone) {
  for (const auto& hvo : kHvo) {
    SCOPED_TRACE(Name(hvo, false));
    const Two two =
        Compare({.finish = true, .hvo_old = hvo[0], .hvo_new = hvo[1]});
    ExpectOfImport(two);
    EXPECT_EQ(two.many.claim.peak, two.few.claim.peak);
    EXPECT_LE(two.many.claim.frames, two.few.claim.frames);
    EXPECT_LE(two.many.claim.bytes, 0);
  }
}

TEST_F(MemoryTest, FreePagesTakeNone) {
  for (const auto& hvo : kHvo) {
    SCOPED_TRACE(Name(hvo, false));
    ExpectOfImport(
        Compare({.free = true, .hvo_old = hvo[0], .hvo_new = hvo[1]}));
  }
}

}  // namespace
}  // namespace sim
