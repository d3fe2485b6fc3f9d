// SPDX-License-Identifier: BSD-3-Clause
#include "sim/liveupdate/kho.h"

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "sim/liveupdate/kho_radix.h"
#include "sim/liveupdate/test_kernel.h"

namespace sim {
namespace {

class KhoTest : public KernelTest {
 protected:
  static std::vector<uint64_t> KeysOf(const KhoRadixTree& tree) {
    std::vector<uint64_t> keys;
    KhoRadixWalkUnlocked(
        tree.root,
        [&](uint64_t key) {
          keys.push_back(key);
          return 0;
        },
        [](uint64_t) { return 0; });
    return keys;
  }

  // A page whose physical address the next kernel finds as subtree "test".
  u64* MakeNote() {
    void* mem = kho_alloc_preserve(PAGE_SIZE);
    EXPECT_FALSE(IS_ERR(mem));
    EXPECT_EQ(kho_add_subtree("test", mem, PAGE_SIZE), 0);
    return static_cast<u64*>(mem);
  }
  static u64* FindNote() {
    phys_addr_t phys = 0;
    size_t size = 0;
    EXPECT_EQ(kho_retrieve_subtree("test", &phys, &size), 0);
    EXPECT_EQ(size, PAGE_SIZE);
    return static_cast<u64*>(phys_to_virt(phys));
  }

  static struct folio* MakeFolio(unsigned order, char fill) {
    struct folio* folio = folio_alloc(GFP_KERNEL, order);
    EXPECT_NE(folio, nullptr);
    std::memset(folio_address(folio), fill, PAGE_SIZE << order);
    return folio;
  }
  static bool Holds(phys_addr_t phys, char fill, size_t bytes) {
    const char* p = static_cast<const char*>(phys_to_virt(phys));
    for (size_t i = 0; i < bytes; ++i) {
      if (p[i] != fill) return false;
    }
    return true;
  }
};

TEST(KhoKeyTest, KeysEncodeAddressAndOrder) {
  for (unsigned order = 0; order <= 18; ++order) {
    const uint64_t phys = uint64_t{5} << (PAGE_SHIFT + order);
    unsigned decoded;
    EXPECT_EQ(KhoDecodeKey(KhoEncodeKey(phys, order), &decoded), phys);
    EXPECT_EQ(decoded, order);
  }
  EXPECT_EQ(KhoEncodeKey(0x3000, 0), (uint64_t{1} << 52) | 3);
  EXPECT_EQ(KhoEncodeKey(0x40000000, 18), (uint64_t{1} << 34) | 1);
}

TEST_F(KhoTest, RadixTreeIsASet) {
  BootKernel();
  const uint64_t free_before = FreePages();
  KhoRadixTree tree = {};
  ASSERT_EQ(KhoRadixInit(&tree, nullptr, "&test.lock"), 0);
  std::set<uint64_t> model;
  std::mt19937_64 random(7);
  for (int i = 0; i < 2000; ++i) {
    const unsigned order = random() % 4;
    const uint64_t phys = (random() % 512) << (PAGE_SHIFT + order);
    const uint64_t key = KhoEncodeKey(phys, order);
    bool changed;
    if (model.size() < 3 || random() % 3 != 0) {
      ASSERT_EQ(KhoRadixAdd(&tree, key, &changed), 0);
      EXPECT_EQ(changed, model.insert(key).second);
    } else if (auto it = model.lower_bound(key); it != model.end()) {
      KhoRadixDelete(&tree, *it, &changed);
      EXPECT_TRUE(changed);
      EXPECT_FALSE(KhoRadixContains(tree, *it));
      model.erase(it);
    }
  }
  EXPECT_EQ(KeysOf(tree), std::vector<uint64_t>(model.begin(), model.end()));
  bool changed;
  EXPECT_EQ(KhoRadixAdd(&tree, uint64_t{1} << 53, &changed), -ERANGE);
  KhoRadixDestroy(&tree);
  EXPECT_EQ(FreePages(), free_before);
}

TEST_F(KhoTest, AddThatFailsLeavesNoNodeBehind) {
  BootKernel();
  KhoRadixTree tree = {};
  ASSERT_EQ(KhoRadixInit(&tree, nullptr, "&test.lock"), 0);
  bool changed;
  const uint64_t there = KhoEncodeKey(0x10000, 2);
  ASSERT_EQ(KhoRadixAdd(&tree, there, &changed), 0);
  const uint64_t free_before = FreePages();
  for (int nth = 1; nth <= 5; ++nth) {
    machine_.set_fault_plan({FailKind::kAlloc, nth});
    EXPECT_EQ(KhoRadixAdd(&tree, KhoEncodeKey(0x10000, 0), &changed), -ENOMEM);
    EXPECT_TRUE(machine_.fault_fired());
    EXPECT_EQ(FreePages(), free_before);
    EXPECT_EQ(KeysOf(tree), std::vector<uint64_t>{there});
  }
  machine_.set_fault_plan({});
  KhoRadixDestroy(&tree);
}

TEST_F(KhoTest, DeletingFromAMissingBranchWarns) {
  BootKernel();
  bool changed;
  KhoRadixTree tree = {};
  ASSERT_EQ(KhoRadixInit(&tree, nullptr, "&test.lock"), 0);
  KhoRadixDelete(&tree, KhoEncodeKey(0x1000, 0), &changed);
  EXPECT_FALSE(changed);
  expected_violations_ = 1;
}

TEST_F(KhoTest, ScratchIsChosenOnceAndKept) {
  BootKernel();
  ASSERT_EQ(kho_scratch_cnt, 4u);  // lowmem, global, two nodes
  const std::vector<struct kho_scratch> first(kho_scratch, kho_scratch + 4);
  EXPECT_EQ(pfn_to_nid(PHYS_PFN(first[2].addr)), 0);
  EXPECT_EQ(pfn_to_nid(PHYS_PFN(first[3].addr)), 1);
  for (const struct kho_scratch& s : first) {
    EXPECT_EQ(s.size, machine_.geometry().scratch_global);
    EXPECT_TRUE(kho_scratch_overlap(s.addr + s.size - 1, 1));
    EXPECT_FALSE(kho_scratch_overlap(s.addr + s.size, 0));
  }
  const uint64_t cma = FreeCmaPagesOfNode(0) + FreeCmaPagesOfNode(1);
  EXPECT_EQ(cma, 4 * machine_.geometry().scratch_global / PAGE_SIZE);
  for (int i = 0; i < 3; ++i) {
    KexecKernel();
    EXPECT_TRUE(is_kho_boot());
    EXPECT_EQ(KhoKexecCount(), static_cast<uint32_t>(i + 1));
    ASSERT_EQ(kho_scratch_cnt, 4u);
    EXPECT_EQ(std::memcmp(kho_scratch, first.data(), 4 * sizeof(first[0])), 0);
    EXPECT_GT(FreeCmaPagesOfNode(0) + FreeCmaPagesOfNode(1), cma * 3 / 4);
  }
}

TEST_F(KhoTest, SizesOfScratchCanBeGiven) {
  BootKernel("kho=1 kho_scratch=128K,256K,100K");
  ASSERT_EQ(kho_scratch_cnt, 4u);
  EXPECT_EQ(kho_scratch[0].size, 128u << 10);
  EXPECT_EQ(kho_scratch[1].size, 256u << 10);
  EXPECT_EQ(kho_scratch[3].size, 128u << 10);  // rounded up
}

TEST_F(KhoTest, TooMuchScratchTurnsKhoOff) {
  BootKernel("kho=on liveupdate=on kho_scratch=64M,64M,64M");
  EXPECT_FALSE(kho_is_enabled());
  EXPECT_EQ(kho_scratch_cnt, 0u);
  EXPECT_EQ(LuoOpen(), -ENOENT);
}

TEST_F(KhoTest, WithoutKhoNothingCrosses) {
  BootKernel("liveupdate=on");
  EXPECT_FALSE(kho_is_enabled());
  EXPECT_FALSE(liveupdate_enabled());
  KexecKernel();
  EXPECT_FALSE(is_kho_boot());
  EXPECT_EQ(machine_.generation, 2);
}

TEST_F(KhoTest, FolioCrossesWithItsBytes) {
  BootKernel();
  struct folio* kept = MakeFolio(2, 'k');
  struct folio* lost = MakeFolio(2, 'l');
  const phys_addr_t kept_phys = PFN_PHYS(folio_pfn(kept));
  const phys_addr_t lost_phys = PFN_PHYS(folio_pfn(lost));
  const KhoKeySet before = KhoOutgoing();
  ASSERT_EQ(kho_preserve_folio(kept), 0);
  EXPECT_NE(KhoOutgoing(), before);
  kho_unpreserve_folio(kept);
  EXPECT_EQ(KhoOutgoing(), before);
  ASSERT_EQ(kho_preserve_folio(kept), 0);
  MakeNote()[0] = kept_phys;

  std::string stages;
  SetBootObserver([&](std::string_view stage) {
    stages += std::string(stage) + " ";
    EXPECT_TRUE(Holds(kept_phys, 'k', PAGE_SIZE << 2)) << stage;
    if (stage == "kexec") {
      EXPECT_TRUE(Holds(lost_phys, PhysicalMemory::kPoison, PAGE_SIZE << 2));
    }
  });
  KexecKernel();
  EXPECT_EQ(stages, "kexec memmap buddy hugetlb up ");

  ASSERT_EQ(FindNote()[0], kept_phys);
  EXPECT_TRUE(kho_folio_preserved(kept_phys, 2));
  EXPECT_FALSE(kho_folio_preserved(kept_phys, 1));
  EXPECT_FALSE(kho_folio_preserved(kept_phys + PAGE_SIZE, 0));
  EXPECT_FALSE(kho_folio_preserved(lost_phys, 2));
  EXPECT_FALSE(kho_folio_preserved(0, 0));
  EXPECT_FALSE(kho_folio_preserved(uint64_t{1} << 50, 0));

  const uint64_t unclaimed = KhoUnclaimedPages();
  const uint64_t free_before = FreePages();
  struct folio* folio = kho_restore_folio(kept_phys);
  ASSERT_NE(folio, nullptr);
  EXPECT_EQ(folio_order(folio), 2u);
  EXPECT_EQ(folio_ref_count(folio), 1);
  EXPECT_EQ(PFN_PHYS(folio_pfn(folio)), kept_phys);
  EXPECT_FALSE(kho_folio_preserved(kept_phys, 2));
  EXPECT_EQ(KhoUnclaimedPages(), unclaimed - 4);
  EXPECT_TRUE(Holds(kept_phys, 'k', PAGE_SIZE << 2));
  folio_put(folio);
  EXPECT_EQ(FreePages(), free_before + 4);
}

TEST_F(KhoTest, SecondRestoreWarns) {
  BootKernel();
  struct folio* folio = MakeFolio(0, 'x');
  const phys_addr_t phys = PFN_PHYS(folio_pfn(folio));
  ASSERT_EQ(kho_preserve_folio(folio), 0);
  KexecKernel();
  EXPECT_NE(kho_restore_folio(phys), nullptr);
  EXPECT_EQ(kho_restore_folio(phys), nullptr);
  EXPECT_EQ(kho_restore_folio(uint64_t{1} << 50), nullptr);  // no such frame
  expected_violations_ = 1;
}

TEST_F(KhoTest, WhatNobodyRestoresIsFreeInTheKernelAfter) {
  BootKernel();
  struct folio* folio = MakeFolio(3, 'x');
  const phys_addr_t phys = PFN_PHYS(folio_pfn(folio));
  ASSERT_EQ(kho_preserve_folio(folio), 0);
  KexecKernel();
  EXPECT_EQ(OwnerOf(PHYS_PFN(phys)), Owner::kReserved);
  std::vector<uint64_t> forever = KhoNeverRestored();
  EXPECT_EQ(forever.size(), 3u);
  EXPECT_EQ(KhoUnclaimedPages(), forever.size() + 8);
  EXPECT_EQ(KhoUnclaimed().size(), forever.size() + 1);
  KexecKernel();
  EXPECT_FALSE(kho_folio_preserved(phys, 3));
  EXPECT_NE(OwnerOf(PHYS_PFN(phys)), Owner::kReserved);
  forever = KhoNeverRestored();
  std::vector<uint64_t> unclaimed;
  for (const KhoKey& key : KhoUnclaimed()) unclaimed.push_back(key.phys);
  EXPECT_EQ(unclaimed, forever);
}

TEST_F(KhoTest, PagesComeBackOneByOne) {
  BootKernel();
  struct folio* folio = MakeFolio(3, 'p');
  struct page* page = folio_page(folio, 0);
  const phys_addr_t phys = page_to_phys(page);
  const KhoKeySet before = KhoOutgoing();
  ASSERT_EQ(kho_preserve_pages(page, 7), 0);  // 4 + 2 + 1
  EXPECT_EQ(KhoOutgoing().count, before.count + 3);
  for (int nth = 1; nth <= 3; ++nth) {
    kho_unpreserve_pages(page, 7);
    EXPECT_EQ(KhoOutgoing(), before);
    machine_.set_fault_plan({FailKind::kKho, nth});
    EXPECT_EQ(kho_preserve_pages(page, 7), -ENOMEM);
    EXPECT_EQ(KhoOutgoing(), before);
    machine_.set_fault_plan({});
    ASSERT_EQ(kho_preserve_pages(page, 7), 0);
  }
  KexecKernel();
  struct page* restored = kho_restore_pages(phys, 7);
  ASSERT_EQ(restored, pfn_to_page(PHYS_PFN(phys)));
  EXPECT_TRUE(Holds(phys, 'p', 7 * PAGE_SIZE));
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(restored[i]._refcount.counter, 1);
    free_page(reinterpret_cast<unsigned long>(page_address(restored + i)));
  }
}

TEST_F(KhoTest, VmallocAreaCrosses) {
  BootKernel();
  constexpr size_t kBytes = 5 * PAGE_SIZE;
  void* area = vmalloc(kBytes);
  ASSERT_NE(area, nullptr);
  std::memset(area, 'v', kBytes);
  u64* note = MakeNote();
  auto* preservation = reinterpret_cast<struct kho_vmalloc*>(note);
  const KhoKeySet before = KhoOutgoing();
  const uint64_t free_before = FreePages();
  ASSERT_EQ(kho_preserve_vmalloc(area, preservation), 0);
  EXPECT_EQ(KhoOutgoing().count, before.count + 6);  // pages and a chunk
  kho_unpreserve_vmalloc(preservation);
  EXPECT_EQ(KhoOutgoing(), before);
  EXPECT_EQ(FreePages(), free_before);
  for (int nth = 1; nth <= 6; ++nth) {
    machine_.set_fault_plan({FailKind::kKho, nth});
    EXPECT_EQ(kho_preserve_vmalloc(area, preservation), -ENOMEM);
    EXPECT_EQ(KhoOutgoing(), before);
    EXPECT_EQ(FreePages(), free_before);
  }
  machine_.set_fault_plan({});
  EXPECT_EQ(kho_preserve_vmalloc(note, preservation), -EINVAL);
  ASSERT_EQ(kho_preserve_vmalloc(area, preservation), 0);

  KexecKernel();
  void* back =
      kho_restore_vmalloc(reinterpret_cast<struct kho_vmalloc*>(FindNote()));
  ASSERT_NE(back, nullptr);
  EXPECT_TRUE(Holds(virt_to_phys(back), 'v', kBytes));
  vfree(back);
  kho_restore_free(FindNote());
  EXPECT_EQ(KhoUnclaimed().size(), KhoNeverRestored().size());
}

TEST_F(KhoTest, AllocPreserveAndItsCounterparts) {
  BootKernel();
  const KhoKeySet before = KhoOutgoing();
  const uint64_t free_before = FreePages();
  EXPECT_EQ(PTR_ERR(kho_alloc_preserve(0)), -EINVAL);
  EXPECT_EQ(PTR_ERR(kho_alloc_preserve(PAGE_SIZE << (MAX_PAGE_ORDER + 1))),
            -E2BIG);
  machine_.set_fault_plan({FailKind::kKho, 1});
  EXPECT_EQ(PTR_ERR(kho_alloc_preserve(100)), -ENOMEM);
  machine_.set_fault_plan({FailKind::kAlloc, 1});
  EXPECT_EQ(PTR_ERR(kho_alloc_preserve(100)), -ENOMEM);
  machine_.set_fault_plan({});
  EXPECT_EQ(FreePages(), free_before);
  void* mem = kho_alloc_preserve(3 * PAGE_SIZE);
  EXPECT_TRUE(Holds(virt_to_phys(mem), 0, 4 * PAGE_SIZE));
  EXPECT_EQ(KhoOutgoing().count, before.count + 1);
  kho_unpreserve_free(mem);
  kho_unpreserve_free(nullptr);
  EXPECT_EQ(KhoOutgoing(), before);
}

TEST_F(KhoTest, NothingInScratchIsPreserved) {
  BootKernel();
  struct page* page = pfn_to_page(PHYS_PFN(kho_scratch[0].addr));
  EXPECT_EQ(kho_preserve_pages(page, 1), -EINVAL);
  expected_violations_ = 1;
}

TEST_F(KhoTest, SubtreesComeAndGo) {
  BootKernel();
  u64* note = MakeNote();
  EXPECT_EQ(kho_add_subtree("test", note, 8), -EEXIST);
  kho_remove_subtree(note);
  EXPECT_EQ(kho_add_subtree("again", note, 8), 0);
  phys_addr_t phys;
  EXPECT_EQ(kho_retrieve_subtree("again", &phys, nullptr), -ENOENT);
  KexecKernel();
  EXPECT_EQ(kho_retrieve_subtree("test", &phys, nullptr), -ENOENT);
  EXPECT_EQ(kho_retrieve_subtree("again", nullptr, nullptr), -EINVAL);
  size_t size;
  EXPECT_EQ(kho_retrieve_subtree("again", &phys, &size), 0);
  EXPECT_EQ(size, 8u);
  EXPECT_TRUE(kho_folio_preserved(phys, 0));
}

TEST_F(KhoTest, SnapshotListsTheKeys) {
  BootKernel();
  struct folio* folio = MakeFolio(4, 'x');
  ASSERT_EQ(kho_preserve_folio(folio), 0);
  const std::vector<KhoKey> keys = KhoOutgoingKeys();
  EXPECT_EQ(keys.size(), KhoOutgoing().count);
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  const KhoKey key{PFN_PHYS(folio_pfn(folio)), 4};
  EXPECT_NE(std::find(keys.begin(), keys.end(), key), keys.end());
  for (uint64_t pfn : KhoOutgoingTreePages()) {
    EXPECT_EQ(OwnerOf(pfn), Owner::kKernel);
  }
}

TEST_F(KhoTest, PowerCutLosesEverything) {
  BootKernel();
  struct folio* folio = MakeFolio(0, 'x');
  const phys_addr_t phys = PFN_PHYS(folio_pfn(folio));
  ASSERT_EQ(kho_preserve_folio(folio), 0);
  ASSERT_TRUE(PowerCut(config_));
  EXPECT_FALSE(is_kho_boot());
  EXPECT_FALSE(Holds(phys, 'x', PAGE_SIZE));
  EXPECT_EQ(KhoUnclaimedPages(), 0u);
}

TEST_F(KhoTest, LastWordOfTheCommandLineWins) {
  BootKernel("kho=off kho=y liveupdate=0");
  EXPECT_TRUE(kho_is_enabled());
  EXPECT_FALSE(liveupdate_enabled());
  std::string value;
  EXPECT_TRUE(CmdlineParam("kho", 1, &value));
  EXPECT_EQ(value, "y");
  EXPECT_FALSE(CmdlineParam("kho", 2, &value));
  EXPECT_FALSE(CmdlineParam("kh", 0, &value));
}

// kho_get_preserved_page() initialises all that KHO holds, tail pages as well,
// and before it nothing is. What is free comes later.
TEST_F(KhoTest, StructPagesOfWhatIsHeldAreThereEarly) {
  BootKernel();
  EXPECT_EQ(sim_uninit_pages, 0u);
  struct folio* folio = MakeFolio(3, 'x');
  ASSERT_EQ(kho_preserve_folio(folio), 0);
  const uint64_t pfn = folio_pfn(folio);
  const phys_addr_t phys = PFN_PHYS(pfn);
  std::vector<std::string> stages;
  SetBootObserver([&](std::string_view stage) {
    if (stage == "kexec") return;  // the old kernel
    stages.emplace_back(stage);
    const size_t reports = machine_.violations().size();
    if (stage == "memmap") {
      kho_folio_preserved(phys, 3);
      EXPECT_EQ(machine_.violations().size(), reports + 1);
      PageHWPoison(pfn_to_page(pfn + 7));
      EXPECT_EQ(machine_.violations().size(), reports + 2);
      return;
    }
    EXPECT_TRUE(kho_folio_preserved(phys, 3));
    for (uint64_t i = 0; i < 8; ++i) {
      // A single page, until it is restored.
      EXPECT_EQ(pfn_folio(pfn + i),
                reinterpret_cast<struct folio*>(pfn_to_page(pfn + i)));
      EXPECT_FALSE(PageHWPoison(pfn_to_page(pfn + i)));
      EXPECT_EQ(page_to_nid(pfn_to_page(pfn + i)), pfn_to_nid(pfn));
    }
    EXPECT_EQ(machine_.violations().size(), reports);
    if (stage != "buddy") {
      EXPECT_EQ(sim_uninit_pages, 0u) << stage;
      return;
    }
    uint64_t free = 0;
    while (OwnerOf(free) != Owner::kFree) ++free;
    PageHWPoison(pfn_to_page(free));
    EXPECT_EQ(machine_.violations().size(), reports + 1);
  });
  KexecKernel();
  SetBootObserver(nullptr);
  EXPECT_EQ(stages,
            (std::vector<std::string>{"memmap", "buddy", "hugetlb", "up"}));
  expected_violations_ = 3;

  // A memory error meanwhile stays where it is.
  EXPECT_EQ(memory_failure(pfn + 5, 0), -EBUSY);
  ASSERT_NE(kho_restore_folio(phys), nullptr);
  EXPECT_EQ(page_folio(pfn_to_page(pfn + 5)),
            reinterpret_cast<struct folio*>(pfn_to_page(pfn)));
  EXPECT_TRUE(PageHWPoison(pfn_to_page(pfn + 5)));
  EXPECT_FALSE(PageHWPoison(pfn_to_page(pfn + 6)));
}

TEST_F(KhoTest, ChainOfManyKernelsDoesNotLose) {
  BootKernel();
  KexecKernel();
  const uint64_t free_second = FreePages();
  for (int i = 0; i < 8; ++i) KexecKernel();
  EXPECT_EQ(FreePages(), free_second);
}

}  // namespace
}  // namespace sim
