// SPDX-License-Identifier: BSD-3-Clause
//
// Defects made on purpose, from outside of the kernel: each has to be found,
// under its name.
#include "sim/exec/invariants.h"

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <functional>
#include <string>

#include "sim/liveupdate/kexec.h"
#include "sim/machine/actors.h"

namespace sim {
namespace {

class InvariantsTest : public ::testing::Test {
 protected:
  InvariantsTest() : executor_(Start()), invariants_(executor_) {
    executor_.Boot();
    invariants_.Booted(/*cold=*/true);
    Do("p0 memfd f0 64K");
    Do("p0 map f0 m0 0 2 noreserve");
    Do("p0 write m0 0 1");
    EXPECT_EQ(found_, "");
  }

  static model::History Start() {
    model::History history;
    history.command_line = "hugepages=4";
    return history;
  }

  // What was found first, by name, or "".
  std::string Do(const std::string& text) {
    const model::Command command = *model::ParseCommand(text);
    invariants_.Before(command);
    const model::Observation& seen = executor_.Run(command);
    if (seen.rebooted) invariants_.Booted(/*cold=*/false);
    Note(invariants_.After(command, seen));
    return found_;
  }

  std::string End() {
    Note(invariants_.Teardown(&executor_));
    return found_;
  }

  void Note(const std::vector<Violation>& found) {
    const std::vector<Violation>& reported = executor_.machine().violations();
    if (!found_.empty()) return;
    if (!found.empty()) {
      found_ = found[0].property;
    } else if (!reported.empty()) {
      found_ = reported[0].property;
    }
  }

  // As code of the kernel.
  static void InKernel(std::function<void()> fn) {
    ASSERT_EQ(RunOnActor(ActorByName("admin"), std::move(fn)),
              RunResult::kDone);
  }

  struct hstate* h() {
    return &default_hstate;
  }
  struct folio* Active() {
    return list_first_entry(&h()->hugepage_activelist, struct folio, lru);
  }
  struct folio* Free() {
    for (struct list_head& head : h()->hugepage_freelists) {
      if (!list_empty(&head)) return list_first_entry(&head, struct folio, lru);
    }
    return nullptr;
  }

  Executor executor_;
  Invariants invariants_;
  std::string found_;
};

TEST_F(InvariantsTest, NothingIsWrong) {
  Do("agent open");
  Do("agent session s0");
  Do("agent preserve s0 1 f0");
  Do("loader load hugepages=4");
  Do("agent reboot");
  EXPECT_EQ(found_, "");
  EXPECT_EQ(End(), "");
}

TEST_F(InvariantsTest, FreeCountOfANode) {
  ++h()->free_huge_pages_node[1];
  ++h()->free_huge_pages;
  EXPECT_EQ(Do("p0 read m0 0"), "counters");
}

TEST_F(InvariantsTest, PageThatIsCountedAndNowhere) {
  ++h()->nr_huge_pages_node[0];
  ++h()->nr_huge_pages;
  EXPECT_EQ(Do("p0 read m0 0"), "counters");
}

TEST_F(InvariantsTest, FreePageWithAReference) {
  Free()->_refcount.counter = 1;
  EXPECT_EQ(Do("p0 read m0 0"), "counters");
}

TEST_F(InvariantsTest, PageOnTheListOfAnotherNode) {
  struct folio* folio = Free();
  const int nid = folio_nid(folio);
  list_move(&folio->lru, &h()->hugepage_freelists[1 - nid]);
  --h()->free_huge_pages_node[nid];
  ++h()->free_huge_pages_node[1 - nid];
  EXPECT_EQ(Do("p0 read m0 0"), "placement");
}

TEST_F(InvariantsTest, ReferenceThatNobodyHolds) {
  InKernel([this] { folio_get(Active()); });
  EXPECT_EQ(Do("p0 read m0 0"), "no-leak");
}

TEST_F(InvariantsTest, KeyThatNobodyNeeds) {
  InKernel([this] { EXPECT_EQ(kho_preserve_folio(Active()), 0); });
  EXPECT_EQ(Do("p0 read m0 0"), "no-leak");
}

TEST_F(InvariantsTest, MemoryThatIsNotFreed) {
  InKernel([] { kmalloc(100, GFP_KERNEL); });
  EXPECT_EQ(Do("p0 read m0 0"), "");
  EXPECT_EQ(End(), "no-leak");
}

TEST_F(InvariantsTest, MemoryThatTheNextKernelDoesNotFree) {
  Do("agent open");
  Do("agent session s0");
  Do("agent preserve s0 1 f0");
  Do("loader load hugepages=4");
  Do("agent reboot");
  InKernel([] { get_zeroed_page(GFP_KERNEL); });
  EXPECT_EQ(Do("agent open"), "");
  EXPECT_EQ(End(), "no-leak");
}

TEST_F(InvariantsTest, HandedOverMemoryThatIsGivenOut) {
  Do("agent open");
  Do("agent session s0");
  Do("agent preserve s0 1 f0");
  Do("loader load hugepages=4");
  Do("agent reboot");
  ASSERT_EQ(executor_.handed_over().size(), 1u);
  const uint64_t phys = executor_.handed_over()[0].phys;
  free_reserved_area(phys_to_virt(phys),
                     static_cast<char*>(phys_to_virt(phys)) + PAGE_SIZE, 0,
                     nullptr);
  const std::string found = Do("agent open");
  EXPECT_TRUE(found == "quarantine" || found == "counters") << found;
}

TEST_F(InvariantsTest, AttemptThatLeavesSomething) {
  Do("agent open");
  Do("agent session s0");
  EXPECT_EQ(Do("agent preserve s0 1 f9"), "");
  // Another actor would make the comparison meaningless: this is the same one.
  const model::Command preserve =
      *model::ParseCommand("agent preserve s0 1 f9");
  invariants_.Before(preserve);
  InKernel([] { kmalloc(100, GFP_KERNEL); });
  Note(invariants_.After(preserve, executor_.Run(preserve)));
  EXPECT_EQ(found_, "exact-rollback");
}

}  // namespace
}  // namespace sim
