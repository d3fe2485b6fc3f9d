// SPDX-License-Identifier: BSD-3-Clause
//
// For each property that the judge knows: what it accepts, and what it calls
// broken by that name.
#include "model/judge.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/judge_test_world.h"

namespace handover::model {
namespace {

class JudgeTest : public testing::Test {
 protected:
  World w{kFourPages};

  // f1 is to be seen.
  void AddFile() {
    w.files.emplace_back();
    w.files.back().name = 1;
    w.files.back().inode = 2;
    w.files.back().seals = kSealSeal;
  }

  void Updated() {
    w.MakeFile();
    w.Preserve();
    w.Update();
  }

  void Retrieved() {
    Updated();
    w.ShowRetrieved();
    w.Holds("agent retrieve s0 5 f0");
  }
};

TEST_F(JudgeTest, AWholeUpdateHolds) {
  Retrieved();
  w.Holds("p3 map f0 m0 0 2 ro noreserve");
}

// --- contents, no-lost-write

TEST_F(JudgeTest, ContentsRead) {
  w.MakeFile();
  w.o.outcome.value = 7;
  w.Holds("p0 read m0 0 at=8");
  w.o.outcome.value = 0;
  w.Holds("p0 read m0 0");
  w.o.outcome.value = 6;
  w.Breaks("contents", "p0 read m0 0 at=8");
}

TEST_F(JudgeTest, ContentsAfterAnUpdate) {
  Retrieved();
  w.Holds("p3 map f0 m0 0 2 ro noreserve");
  w.o.outcome.value = 7;
  w.Holds("p3 read m0 0 at=8");
  w.o.outcome.value = 0x5a5a;
  w.Breaks("contents", "p3 read m0 0 at=8");
}

TEST_F(JudgeTest, ALostWriteIsNamed) {
  w.MakeFile();
  w.Holds("p0 write m0 0 8 at=8");
  w.Preserve();
  w.Update();
  w.ShowRetrieved();
  w.Holds("agent retrieve s0 5 f0");
  w.Holds("p3 map f0 m0 0 2 ro noreserve");
  w.o.outcome.value = 8;
  w.Holds("p3 read m0 0 at=8");
  w.o.outcome.value = 7;
  w.Breaks("no-lost-write", "p3 read m0 0 at=8");
}

TEST_F(JudgeTest, DeviceWritesAreContents) {
  w.MakeFile();
  w.Holds("p0 pin f0 0");
  w.Preserve();
  w.Holds("sim dev f0 0 99 at=8");
  w.Update();
  w.Holds("sim dev f0 0 77 at=16");  // before anybody claimed the page
  w.ShowRetrieved();
  w.Holds("agent retrieve s0 5 f0");
  w.Holds("p3 map f0 m0 0 2 ro noreserve");
  w.o.outcome.value = 0x99;
  w.Holds("p3 read m0 0 at=8");
  w.o.outcome.value = 0x77;
  w.Holds("p3 read m0 0 at=16");
  w.Breaks("contents", "sim dev f0 0 1", -ENODEV);
}

TEST_F(JudgeTest, WordsAreWatchedWhileNobodyOwnsThePage) {
  Updated();
  w.o.cells = {{100, 8, 7}, {100, 0, 0}};
  w.Holds("p0 bind any");
  w.o.cells = {{100, 0, 0x5a}};
  w.Breaks("contents", "p0 bind any");
}

// --- identity

TEST_F(JudgeTest, IdentityOfAFrame) {
  Updated();
  w.ShowRetrieved();
  w.files[0].pages[0].frame = 104;
  w.Breaks("identity", "agent retrieve s0 5 f0");
}

TEST_F(JudgeTest, IdentityOfAHole) {
  Updated();
  w.ShowRetrieved();
  w.files[0].pages.push_back({1, 104, 0});
  w.Breaks("identity", "agent retrieve s0 5 f0");
}

TEST_F(JudgeTest, PreserveMayMoveAPageButNotAPinnedOne) {
  w.MakeFile();
  w.Holds("agent open");
  w.sessions = {{0, false}};
  w.Holds("agent session s0");
  w.files[0].pages[0].frame = 104;  // out of CMA
  w.Holds("agent preserve s0 5 f0");
  w.sessions.clear();
  w.Holds("agent drop s0");
  w.Holds("p0 pin f0 0");
  w.sessions = {{0, false}};
  w.Holds("agent session s0");
  w.files[0].pages[0].frame = 100;
  w.Breaks("identity", "agent preserve s0 5 f0");
}

// --- counters

TEST_F(JudgeTest, CountersFollowAFault) {
  w.MakeFile();
  w.files[0].pages.push_back({1, 200, 1});
  w.files[0].regions = {{0, 2}};
  w.Set(1, 2, 1);
  w.Holds("p0 write m0 1 1");
  w.Set(1, 2, 2);  // a page came back from nowhere
  w.Breaks("counters", "p0 bind any");
}

TEST_F(JudgeTest, CountersOfReservations) {
  w.MakeFile();
  w.files[0].regions = {{0, 2}};
  w.resv() = 1;
  w.Holds("p1 map f0 m0 0 2");
  w.files[0].pages.push_back({1, 200, 1});
  w.Set(1, 2, 1);
  w.Breaks("counters", "p1 write m0 1 1");  // the reservation was not used
}

// What a mount of hugetlbfs has in hand by min_size= is reserved.
TEST_F(JudgeTest, CountersOfAMount) {
  w.MakeFile();
  AddFile();
  w.resv() = 2;
  w.Holds("p0 mount f1 16K min_size=2");
  w.files[1].size = 16384;
  w.files[1].pages = {{0, 200, 1, w.owners}};
  w.files[1].regions = {{0, 1}};
  w.Set(1, 2, 1);
  w.resv() = 1;
  w.Holds("p0 fallocate f1 0 1");
  w.files[1].size = 3 * 16384;
  w.files[1].regions = {{0, 3}};
  w.resv() = 2;  // of two pages the mount has one
  w.Holds("p0 map f1 m1 0 3");
  w.files[1].pages.clear();
  w.files[1].regions = {{1, 3}};
  w.Set(1, 2, 2);
  w.resv() = 3;
  w.Holds("p0 punch f1 0 1");  // it has it again
  w.Holds("p0 unmap m1");
  w.files[1].size = 0;
  w.files[1].regions.clear();
  w.resv() = 2;
  w.Holds("p0 truncate f1 0");
  w.files.pop_back();
  w.Breaks("counters", "p0 close f1");  // and ends with its file
}

// f1 has page 0 (node 1); m1 has copies of 1 and 2, one on either node. Its
// mount has nothing in hand, and all four pages are used.
void MakeCopiesOfAMount(World* w) {
  w->resv() = 2;
  w->Holds("p0 mount f1 16K size=3 min_size=2");
  w->files[1].size = 16384;
  w->files[1].pages = {{0, 200, 1, w->owners}};
  w->files[1].regions = {{0, 1}};
  w->Set(1, 2, 1);
  w->resv() = 1;
  w->Holds("p0 fallocate f1 0 1");
  w->files[1].size = 3 * 16384;
  w->resv() = 2;
  w->Holds("p0 map f1 m1 1 2 private");
  for (int64_t page : {0, 1}) {
    w->o.outcome.frame = 300 + 4 * page;
    w->o.outcome.node = static_cast<int>(page);
    w->Set(static_cast<size_t>(page), 2, 0);
    w->resv() = 1 - static_cast<int>(page);
    w->Holds(absl::StrCat("p0 write m1 ", page, " 1"));
  }
}

// Two reservations come back at once, which makes it one more than it should
// have by min_size=.
TEST_F(JudgeTest, CountersOfAMountThatGetsItsCopiesBack) {
  for (const int resv : {1, 2, 3}) {
    World other(kFourPages);
    other.MakeFile();
    other.files.emplace_back();
    other.files[1].name = 1;
    other.files[1].inode = 2;
    other.files[1].seals = kSealSeal;
    MakeCopiesOfAMount(&other);
    other.Set(0, 2, 1);
    other.Set(1, 2, 1);
    other.resv() = resv;
    if (resv != 2) {
      other.Breaks("counters", "p0 unmap m1");
      continue;
    }
    other.Holds("p0 unmap m1");
    other.Holds("agent open");
    // It is as sure as before of what comes later.
    other.resv() = 1;
    other.Breaks("counters", "p0 bind any");
    other.Set(0, 2, 0);
    other.Breaks("counters", "p0 bind any");
  }
}

// They are freed as surplus, one by one: it has what it should have.
TEST_F(JudgeTest, CountersOfAMountThatLosesSurplusCopies) {
  w.MakeFile();
  AddFile();
  MakeCopiesOfAMount(&w);
  w.Set(0, 2, 0, 1);
  w.Set(1, 2, 0, 1);
  w.Holds("admin nr 16K 2");
  w.Set(0, 1, 0);
  w.Set(1, 1, 0);
  w.resv() = 1;
  w.Holds("p0 unmap m1");
  w.resv() = 2;
  w.Breaks("counters", "p0 bind any");
}

// An exit ends two mappings, in more than one way: no doubt is left after it.
TEST_F(JudgeTest, CountersOfAMountAfterAnExit) {
  for (const int resv : {0, 1, 2, 3}) {
    World other(kFourPages);
    other.MakeFile();
    other.files.emplace_back();
    other.files[1].name = 1;
    other.files[1].inode = 2;
    other.files[1].seals = kSealSeal;
    MakeCopiesOfAMount(&other);
    other.Set(0, 2, 1);
    other.Set(1, 2, 1);
    other.resv() = resv;
    if (resv != 2) {
      other.Breaks("counters", "p0 exit");
      continue;
    }
    other.Holds("p0 exit");
    other.resv() = 1;
    other.Breaks("counters", "p0 bind any");
  }
}

// What it has reserved is in doubt after a step in which a call failed, until
// it ends.
TEST_F(JudgeTest, AMountInDoubtEndsWithItsFile) {
  w.MakeFile();
  AddFile();
  w.resv() = 2;
  w.Holds("p0 mount f1 16K min_size=2");
  w.o.fault_injected = true;
  w.Holds("p0 bind any");
  w.resv() = 1;
  w.Holds("p0 bind any");
  w.files.pop_back();
  w.resv() = 0;
  w.Holds("p0 close f1");
  w.resv() = 1;
  w.Breaks("counters", "p0 bind any");
}

TEST_F(JudgeTest, AMountThatReservesNothing) {
  w.MakeFile();
  AddFile();
  w.Breaks("counters", "p0 mount f1 16K min_size=2");
}

TEST_F(JudgeTest, AMountThatForgetsItsPage) {
  w.MakeFile();
  AddFile();
  w.resv() = 1;
  w.Holds("p0 mount f1 16K min_size=1");
  w.files[1].size = 16384;
  w.files[1].pages = {{0, 200, 1, w.owners}};
  w.files[1].regions = {{0, 1}};
  w.Set(1, 2, 1);
  w.resv() = 0;
  w.Holds("p0 fallocate f1 0 1");
  w.files[1].pages.clear();
  w.files[1].regions.clear();
  w.Set(1, 2, 2);
  w.Breaks("counters", "p0 punch f1 0 1");
}

TEST_F(JudgeTest, AMountThatIsRefused) {
  w.MakeFile();
  w.Holds("p0 mount f1 16K size=1 min_size=2", -EINVAL);
  w.Holds("p0 mount f1 32K", -EINVAL);
  w.Holds("p0 mount f0 16K", -EEXIST);
  w.Holds("p0 mount f1 16K min_size=4", -ENOMEM);
  w.Breaks("counters", "p0 mount f1 16K min_size=3", -ENOMEM);
  w.Breaks("refusal", "p0 mount f1 16K size=3", -ENOMEM);
}

TEST_F(JudgeTest, AMountGivesNoMoreThanItsSize) {
  w.MakeFile();
  AddFile();
  w.Holds("p0 mount f1 16K size=1");
  w.Holds("p0 map f1 m1 0 2", -ENOMEM);
  w.Breaks("counters", "p0 map f1 m1 0 1", -ENOMEM);
  w.files[1].pages = {{0, 200, 1, w.owners}};
  w.files[1].regions = {{0, 1}};
  w.Set(1, 2, 1);
  w.Holds("p0 fallocate f1 0 2", -ENOSPC);
  w.files[1].size = 2 * 16384;
  w.files[1].pages.push_back({1, 204, 1, w.owners});
  w.files[1].regions = {{0, 2}};
  w.Set(1, 2, 0);
  w.Breaks("counters", "p0 fallocate f1 0 2");
}

TEST_F(JudgeTest, FilesOfMountsAreNotPreserved) {
  w.MakeFile();
  AddFile();
  w.Holds("p0 mount f1 16K unlinked");
  w.Holds("agent open");
  w.sessions = {{0, false}};
  w.Holds("agent session s0");
  w.Holds("agent preserve s0 1 f1", -ENOENT);
  w.Breaks("refusal", "agent preserve s0 1 f1");
}

TEST_F(JudgeTest, CountersOfAnEvictedFile) {
  w.MakeFile();
  w.files.clear();
  w.Holds("p0 close f0");
  w.Set(0, 2, 2);
  w.Holds("p0 exit");  // the mapping was the last to hold it
}

TEST_F(JudgeTest, CountersOfAnUnclaimedFile) {
  Updated();
  w.Set(0, 2, 2);
  w.Holds("agent finish s0");
}

TEST_F(JudgeTest, PagesOfAFinishedFileThatAreLost) {
  Updated();
  w.Breaks("counters", "agent finish s0");
}

TEST_F(JudgeTest, ResizingSeesUnclaimedPages) {
  Updated();
  w.Set(0, 2, 1);
  w.Set(1, 3, 3);
  w.Holds("admin nr 16K 5");
  w.Set(1, 4, 4);
  w.Breaks("counters", "admin nr 16K 5");
}

TEST_F(JudgeTest, PrivateCopiesUseThePool) {
  w.MakeFile();
  w.resv() = 2;
  w.Holds("p1 map f0 m0 0 2 private");
  w.Set(0, 2, 0);
  w.resv() = 1;
  w.o.outcome.frame = 104;
  w.o.outcome.node = 0;
  w.Holds("p1 write m0 0 8 at=8");
  w.o.outcome.value = 8;
  w.Holds("p1 read m0 0 at=8");
  w.o.outcome.value = 7;
  w.Holds("p0 read m0 0 at=8");
  w.Set(0, 2, 1);
  w.resv() = 0;
  w.Holds("p1 exit");
}

TEST_F(JudgeTest, APrivateCopyThatIsNotFreed) {
  w.MakeFile();
  w.Holds("p1 map f0 m0 0 2 private noreserve");
  w.Set(0, 2, 0);
  w.o.outcome.frame = 104;
  w.o.outcome.node = 0;
  w.Holds("p1 write m0 0 8 at=8");
  w.Breaks("counters", "p1 unmap m0");
}

// --- no-duplicate

TEST_F(JudgeTest, NoFrameHasTwoOwners) {
  w.MakeFile();
  SeenFile other;
  other.name = 1;
  other.inode = 2;
  other.seals = kSealSeal;
  w.files.push_back(other);
  w.Holds("p0 memfd f1 16K");
  w.files[1].size = 16384;
  w.files[1].regions = {{0, 1}};
  w.resv() = 1;
  w.Holds("p0 map f1 m1 0 1");
  w.resv() = 0;
  w.files[1].pages = {{0, 102, 0}};  // lies in the page at frame 100
  w.Set(0, 2, 0);
  w.Breaks("no-duplicate", "p0 write m1 0 1");
}

TEST_F(JudgeTest, AnAnnouncedPageIsNobodyElses) {
  Updated();
  SeenFile other;
  other.name = 1;
  other.seals = kSealSeal;
  w.files.push_back(other);
  w.Holds("p0 memfd f1 16K");
  w.files[0].size = 16384;
  w.files[0].regions = {{0, 1}};
  w.files[0].pages = {{0, 100, 0}};
  w.Set(0, 2, 0);
  w.Breaks("no-duplicate", "p0 fallocate f1 0 1");
}

// --- boot-budget

TEST_F(JudgeTest, ColdBootIsBalanced) {
  w.Set(0, 2, 2);
  w.Set(1, 2, 2);
  EXPECT_TRUE(w.Boot().empty());
}

TEST_F(JudgeTest, ColdBootOutOfBalance) {
  w.Set(0, 3, 3);
  w.Set(1, 1, 1);
  std::vector<Verdict> verdicts = w.Boot();
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_EQ(verdicts[0].property, "boot-budget");
}

TEST_F(JudgeTest, ColdBootMayFallOverFromAnEmptyNode) {
  w.Set(0, 3, 3);
  w.Set(1, 1, 1);
  w.node(1).allocatable = 0;
  EXPECT_TRUE(w.Boot().empty());
}

TEST_F(JudgeTest, AShortageIsReported) {
  w.Set(0, 2, 2);
  w.Set(1, 1, 1);
  w.node(0).allocatable = w.node(1).allocatable = 0;
  EXPECT_FALSE(w.Boot().empty());
  World reported(kFourPages);
  reported.o = w.o;
  reported.o.shortage_reported = true;
  EXPECT_TRUE(reported.Boot().empty());
}

TEST_F(JudgeTest, HandedOverPagesCountAsAskedFor) {
  w.MakeFile();
  w.Preserve();
  w.Reboot();
  w.Set(0, 3, 2);  // allocated as if nothing came
  w.Breaks("boot-budget", "agent reboot");
}

TEST_F(JudgeTest, AnnouncedPagesAreInUse) {
  w.MakeFile();
  w.Preserve();
  w.Reboot();
  w.Set(0, 2, 2);
  w.Breaks("boot-budget", "agent reboot");
}

TEST_F(JudgeTest, TheLogSaysWhatBecameOfTheRequest) {
  for (SizedPool wrong :
       {SizedPool{0, -1, 1, 0, 0, 0}, SizedPool{0, -1, 0, 1, 0, 0},
        SizedPool{0, -1, 0, 0, 1, 0}, SizedPool{0, -1, 0, 0, 0, 1},
        SizedPool{0, 0, 0, 0, 0, 0}}) {
    w = World(kFourPages);
    w.MakeFile();
    w.Preserve();
    w.Reboot();
    w.said_wrong = wrong;
    w.Breaks("boot-budget", "agent reboot");
  }
}

TEST_F(JudgeTest, WhatExceedsTheRequestIsSurplus) {
  w.MakeFile();
  w.Preserve();
  w.Holds("loader load hugepagesz=16K hugepages=0");
  w.Reboot();
  w.Set(0, 1, 0, 1);
  w.Set(1, 0, 0);
  w.Holds("agent reboot");
  w.Holds("agent open");
  w.sessions = {{0, true}};
  w.Holds("agent take s0");
  w.Set(0, 0, 0);  // freed surplus goes
  w.Holds("agent finish s0");
}

TEST_F(JudgeTest, PerNodeRequestsHoldForEachNode) {
  w.MakeFile();
  w.Preserve();
  w.Holds("loader load hugepagesz=16K hugepages=1:3");
  w.Reboot();
  w.Set(0, 1, 0, 1);
  w.Set(1, 3, 3);
  w.Holds("agent reboot");

  World other(kFourPages);
  other.MakeFile();
  other.Preserve();
  other.Holds("loader load hugepagesz=16K hugepages=1:3");
  other.Reboot();
  other.Set(0, 1, 0);
  other.Set(1, 2, 2);
  other.Breaks("boot-budget", "agent reboot");
}

// --- placement

TEST_F(JudgeTest, PlacementFollowsThePolicy) {
  w.MakeFile();
  w.Holds("p0 bind 1");
  w.files[0].pages.push_back({1, 200, 1});
  w.files[0].regions = {{0, 2}};
  w.Set(1, 2, 1);
  w.Holds("p0 write m0 1 1");
}

TEST_F(JudgeTest, PlacementOnTheWrongNode) {
  w.MakeFile();
  w.Holds("p0 bind 1");
  w.files[0].pages.push_back({1, 104, 0});
  w.files[0].regions = {{0, 2}};
  w.Set(0, 2, 0);
  std::vector<Verdict> verdicts = w.Do("p0 write m0 1 1");
  ASSERT_FALSE(verdicts.empty());
  EXPECT_EQ(verdicts[0].property, "placement");
}

TEST_F(JudgeTest, APageDoesNotChangeItsNode) {
  w.MakeFile();
  w.files[0].pages[0].node = 1;
  w.Breaks("placement", "p0 bind any");
}

// --- metadata

TEST_F(JudgeTest, MetadataComesAlong) {
  w.MakeFile();
  w.files[0].position = 123;
  w.Holds("p0 seek f0 123");
  w.files[0].seals = kSealGrow | kSealShrink;
  w.Holds("p0 seal f0 grow,shrink");
  w.Preserve();
  w.Update();
  w.ShowRetrieved();
  w.Holds("agent retrieve s0 5 f0");
}

TEST_F(JudgeTest, MetadataThatGotLost) {
  auto lose = [](void (*change)(SeenFile*)) {
    World w(kFourPages);
    w.MakeFile();
    w.files[0].seals = kSealGrow;
    w.Holds("p0 seal f0 grow");
    w.Preserve();
    w.Update();
    w.ShowRetrieved();
    change(&w.files[0]);
    w.Breaks("metadata", "agent retrieve s0 5 f0");
  };
  lose([](SeenFile* f) { f->seals = 0; });
  lose([](SeenFile* f) { f->size += 16384; });
  lose([](SeenFile* f) { f->position = 1; });
  lose([](SeenFile* f) { f->mode = 0666; });
  lose([](SeenFile* f) { f->regions = {{0, 2}}; });
}

TEST_F(JudgeTest, NoexecIsAModeAndASeal) {
  w.Set(0, 2, 2);
  w.Set(1, 2, 2);
  EXPECT_TRUE(w.Boot().empty());
  w.files.emplace_back();
  w.files[0].mode = 0666;
  w.files[0].seals = kSealExec;
  w.Holds("p0 memfd f0 16K noexec");
}

// --- atomic-import

TEST_F(JudgeTest, AFailedRetrieveChangesNothing) {
  Updated();
  w.o.fault_injected = true;
  w.Holds("agent retrieve s0 5 f0", -EAGAIN);
  w.ShowRetrieved();
  w.Holds("agent retrieve s0 5 f0");
}

TEST_F(JudgeTest, AFailedRetrieveThatGaveAPageAway) {
  Updated();
  w.Set(0, 2, 2);
  w.o.fault_injected = true;
  w.Breaks("atomic-import", "agent retrieve s0 5 f0", -EAGAIN);
}

// --- memory errors that somebody made up

class InventedErrorTest : public JudgeTest {
 protected:
  void SetUp() override {
    w.MakeFile();
    w.Preserve();
    w.Holds("sim corrupt error.address 8192000 nth=127 resum");
    const SeenFile saved = w.files[0];
    w.Reboot();
    w.handed_over = saved;
    w.HandOver();
    w.o.handed.frames = 1 << 16;
    Put(2000, 1);
    w.o.errors_watched = true;
    w.o.reserved_before = {{0, 16}};
    w.o.reserved = {{0, 16}, {2000, 2001}};
  }

  void Put(uint64_t frame, uint32_t pages) {
    TableView::Error error;
    error.address = frame << 12;
    error.pages = pages;
    error.memory = true;
    w.o.handed.errors.push_back(error);
  }

  // As many more, and f0 is this kernel's own again.
  void Finished(uint64_t more) {
    for (uint64_t n = 0; n < more; ++n) {
      Put(4000 + 2 * n, 1);
      w.o.reserved.push_back({4000 + 2 * n, 4001 + 2 * n});
    }
    w.Holds("agent reboot");
    w.Holds("agent open");
    w.sessions = {{0, true}};
    w.Holds("agent take s0");
    w.ShowRetrieved();
    w.Holds("agent retrieve s0 5 f0");
    w.Holds("agent finish s0");
    w.sessions = {{0, true}, {1, false}};
    w.Holds("agent session s1");
  }
};

TEST_F(InventedErrorTest, AreKeptAwayFrom) { w.Holds("agent reboot"); }

TEST_F(InventedErrorTest, AreForgotten) {
  w.o.reserved = w.o.reserved_before;
  w.Breaks("one-owner", "agent reboot");
}

TEST_F(InventedErrorTest, TakeTooMuch) {
  w.o.reserved[1].to = 2002;
  w.Breaks("boot-budget", "agent reboot");
}

TEST_F(InventedErrorTest, BesideWhatIsReserved) {
  Put(15, 1);
  Put(16, 1);
  w.o.reserved[0].to = 17;
  w.Holds("agent reboot");
}

TEST_F(InventedErrorTest, WithoutAWord) {
  Put(1 << 15, 1 << 15);
  w.Breaks("refusal", "agent reboot");
}

TEST_F(InventedErrorTest, AreNamed) {
  Put(1 << 15, 1 << 15);
  w.o.not_kept_away = 1;
  w.Holds("agent reboot");
}

// The page of f0 is frame 100.
TEST_F(InventedErrorTest, InAFile) {
  Put(103, 1);
  w.o.reserved = {{0, 16}, {103, 104}, {2000, 2001}};
  w.Holds("agent reboot");
  w.Holds("agent open");
  w.sessions = {{0, true}};
  w.Holds("agent take s0");
  w.ShowRetrieved();
  w.Holds("agent retrieve s0 5 f0");
  w.Holds("admin poison f0 0", -EHWPOISON);
}

// With so many on its list the kernel preserves nothing.
TEST_F(InventedErrorTest, SoMany) {
  Finished(64);
  w.Holds("agent preserve s1 5 f0", -EHWPOISON);
}

TEST_F(InventedErrorTest, NotSoMany) {
  Finished(63);
  w.Breaks("exact-rollback", "agent preserve s1 5 f0", -EHWPOISON);
}

// --- quarantine

class QuarantineTest : public JudgeTest {
 protected:
  void SetUp() override {
    w.MakeFile();
    w.Preserve();
    w.Holds("sim corrupt file.csum 1");
    w.Reboot();
    w.HandOver();
    w.o.handed.files[0].checksum = false;
    // Four fresh pages beside the one that is kept out.
    w.Set(0, 2, 2);
    w.Set(1, 2, 2);
    w.o.after.quarantined = {{16 << 10, 0, 1}};
    w.o.after.reported = {{16 << 10, 0, 1}};
  }
};

TEST_F(QuarantineTest, RefusedMemoryStaysOut) {
  w.Holds("agent reboot");
  w.Holds("agent open");
  w.sessions = {{0, true}};
  w.Holds("agent take s0");
  w.Holds("agent retrieve s0 5 f0", -EINVAL);
  w.Holds("agent finish s0");
  w.Holds("loader load");
  w.Holds("agent reboot", -EBUSY);
  w.o.after.quarantined.clear();
  w.Breaks("quarantine", "p0 bind any");
}

TEST_F(QuarantineTest, ARefusedFileIsNotHandedOut) {
  w.Holds("agent reboot");
  w.Holds("agent open");
  w.sessions = {{0, true}};
  w.Holds("agent take s0");
  std::vector<Verdict> verdicts = w.Do("agent preserve s0 1 f0", 0);
  EXPECT_FALSE(verdicts.empty());
}

TEST_F(QuarantineTest, ItMustBeReported) {
  w.o.after.reported.clear();
  w.Breaks("quarantine", "agent reboot");
}

TEST_F(QuarantineTest, AnUpdateWouldLoseIt) {
  w.Holds("agent reboot");
  w.Holds("loader load");
  w.Reboot();
  std::vector<Verdict> verdicts = w.Do("agent reboot");
  ASSERT_FALSE(verdicts.empty());
  EXPECT_EQ(verdicts[0].property, "refusal");
  EXPECT_EQ(verdicts[0].what,
            "agent reboot: went well, should be refused "
            "with EBUSY");
}

TEST_F(QuarantineTest, RefusedMemoryIsNotAllocated) {
  w.Holds("agent reboot");
  SeenFile other;
  other.name = 1;
  other.seals = kSealSeal;
  w.files.push_back(other);
  w.Holds("p0 memfd f1 16K");
  w.files[0].size = 16384;
  w.files[0].regions = {{0, 1}};
  w.files[0].pages = {{0, 100, 0}};
  w.Set(0, 2, 1);
  w.Breaks("quarantine", "p0 fallocate f1 0 1");
}

TEST_F(JudgeTest, AMissingPageSizeIsQuarantined) {
  w.MakeFile();
  w.Preserve();
  w.Holds("loader load no-size=16K hugepagesz=64K");
  w.Reboot();
  w.o.after.nr_pools = 2;
  w.o.after.pool[0] = w.o.after.pool[1];
  w.o.after.pool[1] = w.o.after.pool[2];
  w.o.after.quarantined = {{16 << 10, 0, 1}};
  w.o.after.reported = {{16 << 10, 0, 1}};
  w.Holds("agent reboot");
}

TEST_F(JudgeTest, WithoutTheOptionNoSessionComesBack) {
  w.MakeFile();
  w.Preserve();
  w.Holds("loader load no-option hugepagesz=16K hugepages=4");
  w.Reboot();
  w.Set(0, 2, 2);
  w.o.after.quarantined = {{16 << 10, 0, 1}};
  w.Holds("agent reboot");
  w.Holds("agent open", -EIO);
  w.Breaks("refusal", "agent open", 0);
}

// --- exact-rollback

TEST_F(JudgeTest, AFailedPreserveChangesNothing) {
  w.MakeFile();
  w.Holds("agent open");
  w.sessions = {{0, false}};
  w.Holds("agent session s0");
  w.Holds("sim fail 3");
  w.o.fault_injected = true;
  w.Holds("agent preserve s0 5 f0", -ENOMEM);
  w.o.fault_injected = true;
  w.Set(0, 3, 1);
  w.Breaks("exact-rollback", "agent preserve s0 5 f0", -ENOMEM);
}

TEST_F(JudgeTest, AFailedRebootChangesNothing) {
  w.MakeFile();
  w.Preserve();
  w.o.fault_injected = true;
  w.Holds("agent reboot", -ENOMEM);
  w.o.fault_injected = true;
  w.files[0].seals = kSealShrink;
  w.Breaks("exact-rollback", "agent reboot", -ENOMEM);
}

TEST_F(JudgeTest, ADroppedSessionLeavesNothing) {
  w.MakeFile();
  w.Preserve();
  w.sessions.clear();
  w.Holds("agent drop s0");
  w.files[0].size = 0;
  w.files[0].pages.clear();
  w.files[0].regions.clear();
  w.Set(0, 2, 2);
  w.Holds("p0 truncate f0 0");  // no longer refused
}

TEST_F(JudgeTest, ADroppedSessionThatKeepsAPage) {
  w.MakeFile();
  w.Preserve();
  w.sessions.clear();
  w.Set(0, 1, 0);
  w.Breaks("exact-rollback", "agent drop s0");
}

TEST_F(JudgeTest, NothingWaitsAfterAFailedUpdate) {
  w.MakeFile();
  w.Preserve();
  w.o.outcome.kind = Outcome::Kind::kBlocked;
  w.Breaks("exact-rollback", "p0 write m0 1 1");
}

// --- refusal

TEST_F(JudgeTest, APreservedFileKeepsItsShape) {
  w.MakeFile();
  w.Preserve();
  w.Holds("p0 truncate f0 0", -EPERM);
  w.Holds("p0 truncate f0 3", -EPERM);
  w.Holds("p0 punch f0 0 1", -EPERM);
  w.Holds("p0 fallocate f0 1 2", -EPERM);
  w.Holds("p0 map f0 m1 0 3 noreserve", -EPERM);
  w.Holds("p0 map f0 m1 0 2", -ENOMEM);
  w.Holds("p0 seal f0 write", -EBUSY);
  w.Holds("agent preserve s0 6 f0", -EBUSY);
  w.Holds("agent preserve s0 5 f0", -EEXIST);
  w.Holds("p0 punch f0 1 1");
}

TEST_F(JudgeTest, LatePagesAreAllowed) {
  w.MakeFile();
  w.Preserve();
  w.files[0].pages.push_back({1, 200, 1});
  w.files[0].regions = {{0, 2}};
  w.Set(1, 2, 1);
  w.Holds("p0 write m0 1 5");
  w.Update();
  w.ShowRetrieved();
  w.Holds("agent retrieve s0 5 f0");
}

TEST_F(JudgeTest, RefusalThatDidNotHappen) {
  w.MakeFile();
  w.Preserve();
  w.Breaks("refusal", "agent preserve s0 5 f0", 0);
}

TEST_F(JudgeTest, RefusalWithoutReason) {
  w.MakeFile();
  w.Holds("agent open");
  w.sessions = {{0, false}};
  w.Holds("agent session s0");
  w.sessions = {{0, false}};
  std::vector<Verdict> verdicts = w.Do("agent preserve s0 5 f0", -EPERM);
  ASSERT_FALSE(verdicts.empty());
}

TEST_F(JudgeTest, ReservationsBeyondTheEndAreRefused) {
  w.MakeFile();
  w.files[0].regions = {{0, 3}};
  w.resv() = 2;
  w.Holds("p1 map f0 m0 0 3 ro");
  w.Holds("agent open");
  w.sessions = {{0, false}};
  w.Holds("agent session s0");
  w.Holds("agent preserve s0 5 f0", -EOPNOTSUPP);
  w.Breaks("refusal", "agent preserve s0 5 f0", 0);
}

// --- Reservations across an update

// Page 1 is reserved and not there.
class ReservedTest : public JudgeTest {
 protected:
  void SetUp() override {
    w.MakeFile();
    w.files[0].regions = {{0, 2}};
    w.resv() = 1;
    w.Holds("p1 map f0 m0 0 2");
    w.Preserve();
  }
  // A next kernel with so many pages and as many of them promised.
  void Update(int pages, int promised) {
    SeenFile saved = w.files[0];
    w.Holds("loader load hugepagesz=16K hugepages=" + std::to_string(pages));
    w.Reboot();
    w.Set(0, pages - pages / 2, pages - pages / 2 - 1);
    w.Set(1, pages / 2, pages / 2);
    w.resv() = promised;
    w.Holds("agent reboot");
    w.Holds("agent open");
    w.sessions = {{0, true}};
    w.Holds("agent take s0");
    w.handed_over = saved;
  }
};

TEST_F(ReservedTest, ArePromisedFromBootOn) {
  w.Reboot();
  w.Breaks("boot-budget", "agent reboot");
}

TEST_F(ReservedTest, CannotBePromisedWithoutAPage) {
  w.Holds("loader load hugepagesz=16K hugepages=1");
  w.Reboot();
  w.Set(0, 1, 0);
  w.Set(1, 0, 0);
  w.resv() = 1;
  w.Breaks("boot-budget", "agent reboot");
}

TEST_F(ReservedTest, AreTheFilesAfterRetrieve) {
  Update(4, 1);
  w.ShowRetrieved();
  w.Holds("agent retrieve s0 5 f0");
  w.Holds("agent finish s0");
  w.files.clear();
  w.Set(0, 2, 2);
  w.resv() = 0;
  w.Holds("p0 close f0");
}

TEST_F(ReservedTest, AreLostOrGivenTwice) {
  for (const int resv : {0, 2}) {
    World saved(kFourPages);
    std::swap(w, saved);
    SetUp();
    Update(4, 1);
    w.ShowRetrieved();
    w.resv() = resv;
    w.Breaks("counters", "agent retrieve s0 5 f0");
  }
}

TEST_F(ReservedTest, RegionIsLost) {
  Update(4, 1);
  w.ShowRetrieved();
  w.files[0].regions = {{0, 1}};
  w.Breaks("metadata", "agent retrieve s0 5 f0");
}

TEST_F(ReservedTest, AreGivenBackByFinish) {
  Update(4, 1);
  w.Set(0, 2, 2);
  w.resv() = 0;
  w.Holds("agent finish s0");
}

TEST_F(ReservedTest, StayAfterFinish) {
  Update(4, 1);
  w.Set(0, 2, 2);
  w.Breaks("counters", "agent finish s0");
}

// The pool is too small, and then it is not.
TEST_F(ReservedTest, WaitForAPage) {
  Update(1, 0);
  w.Holds("agent retrieve s0 5 f0", -EAGAIN);
  w.Set(1, 1, 1);
  w.Holds("admin nr 16K 2");
  w.ShowRetrieved();
  w.resv() = 1;
  w.Holds("agent retrieve s0 5 f0");
}

TEST_F(ReservedTest, DoNotWaitForAPage) {
  Update(1, 0);
  w.ShowRetrieved();
  std::vector<Verdict> verdicts = w.Do("agent retrieve s0 5 f0");
  ASSERT_FALSE(verdicts.empty());
  EXPECT_EQ(verdicts[0].property, "refusal");
}

TEST_F(ReservedTest, WaitForNothing) {
  Update(4, 1);
  EXPECT_FALSE(w.Do("agent retrieve s0 5 f0", -EAGAIN).empty());
}

TEST_F(ReservedTest, WaitThoughThereIsAPage) {
  Update(1, 0);
  w.Set(1, 1, 1);
  w.Holds("admin nr 16K 2");
  EXPECT_FALSE(w.Do("agent retrieve s0 5 f0", -EAGAIN).empty());
}

// A retrieval that fails for something else keeps what was promised.
TEST_F(ReservedTest, AreKeptWhenSomethingElseFails) {
  Update(1, 0);
  w.Set(1, 1, 1);
  w.Holds("admin nr 16K 2");
  w.o.fault_injected = true;
  w.resv() = 1;
  w.Holds("agent retrieve s0 5 f0", -EAGAIN);
  w.Set(0, 1, 1);
  w.resv() = 0;
  w.Holds("agent finish s0");
}

TEST_F(ReservedTest, AreFoundInTheTable) {
  w.HandOver();
  w.Reboot();
  w.Breaks("metadata", "agent reboot");  // they are not
  World other(kFourPages);
  std::swap(w, other);
  SetUp();
  w.HandOver();
  TableView::Block block;
  block.held = block.magic = block.checksum = true;
  block.nr_runs = 1;
  block.runs.push_back({1, 1, 0, false, {}});
  w.o.handed.files[0].resv.blocks.push_back(block);
  w.o.handed.files[0].nr_resv = 1;
  w.Reboot();
  w.resv() = 1;
  w.Holds("agent reboot");
}

TEST_F(JudgeTest, RefusalsOfLuo) {
  Updated();
  w.Holds("agent open", -EBUSY);
  w.Holds("agent take s1", -ENOENT);
  w.Holds("agent retrieve s0 6 f0", -ENOENT);
  w.Holds("agent retrieve s1 5 f0", -EBADF);
  w.Holds("agent preserve s0 7 f0", -EINVAL);
  w.Holds("loader load");
  w.Holds("agent reboot", -EBUSY);  // the file is neither retrieved nor gone
  w.Breaks("refusal", "agent open", 0);
}

TEST_F(JudgeTest, RebootNeedsAnImage) {
  w.MakeFile();
  w.Holds("agent reboot", -EINVAL);
}

TEST_F(JudgeTest, FaultsThatMustFail) {
  w.MakeFile();
  w.o.outcome.kind = Outcome::Kind::kSigsegv;
  w.Holds("p0 write m0 2 1");
  w.files[0].size = 16384;
  w.Holds("p0 truncate f0 1");
  w.o.outcome.kind = Outcome::Kind::kSigbus;
  w.Holds("p0 write m0 1 1");
  w.Breaks("refusal", "p0 write m0 1 1");
}

// --- memory errors

class PoisonTest : public JudgeTest {
 protected:
  void Sigbus(std::string_view text) {
    w.o.outcome.kind = Outcome::Kind::kSigbus;
    w.Holds(text);
  }
  // f0 is asked for.
  void Retrieve() {
    w.Update();
    w.ShowRetrieved();
    w.Holds("agent retrieve s0 5 f0");
    w.Holds("p0 map f0 m0 0 2 noreserve");
  }
};

TEST_F(PoisonTest, TouchingThePageGetsASignal) {
  w.MakeFile();
  w.Holds("admin poison f0 1", -ENOENT);
  w.Holds("admin poison f0 0 at=16384", -ENOENT);
  w.Holds("admin poison f1 0", -EBADF);
  w.Holds("admin poison f0 0 at=4096");
  w.Holds("admin poison f0 0", -EHWPOISON);
  Sigbus("p0 read m0 0");
  Sigbus("p0 write m0 0 7");
  w.Breaks("refusal", "p0 read m0 0");
}

TEST_F(PoisonTest, SecondErrorIsRefused) {
  w.MakeFile();
  w.Holds("admin poison f0 0");
  w.Breaks("refusal", "admin poison f0 0 at=4096");
}

TEST_F(PoisonTest, ItIsStillMappedWhereALockWasHeld) {
  w.MakeFile();
  w.Holds("admin poison f0 0", -EBUSY);
  w.o.outcome.value = 7;
  w.Holds("p0 read m0 0 at=8");
  Sigbus("p0 read m0 0 at=8");
  w.Preserve();
  Retrieve();
  w.Breaks("refusal", "p0 read m0 0 at=8");
}

TEST_F(PoisonTest, TheNextKernelKnows) {
  w.MakeFile();
  w.Preserve();
  w.Holds("admin poison f0 0");
  Retrieve();
  Sigbus("p0 read m0 0");
  w.Breaks("refusal", "p0 read m0 0");
}

TEST_F(PoisonTest, ThePageIsNeverFree) {
  w.MakeFile();
  w.Holds("admin poison f0 0");
  w.Preserve();
  w.Update();
  w.Holds("agent finish s0");
}

TEST_F(PoisonTest, ThePageIsFree) {
  w.MakeFile();
  w.Holds("admin poison f0 0");
  w.Preserve();
  w.Update();
  w.Set(0, 2, 2);
  w.Breaks("counters", "agent finish s0");
}

TEST_F(PoisonTest, TheKernelStoppedOnTheWay) {
  for (const bool marked : {false, true}) {
    w = World(kFourPages);
    w.MakeFile();
    w.Preserve();
    w.Holds("sim during 40 admin poison f0 0");
    w.o.during.resize(1);
    w.o.during[0].started = true;
    w.o.during[0].outcome.kind = Outcome::Kind::kKilled;
    w.o.during[0].outcome.value = marked;
    Retrieve();
    w.o.outcome.value = 7;
    if (marked)
      w.Breaks("refusal", "p0 read m0 0 at=8");
    else
      w.Holds("p0 read m0 0 at=8");
  }
}

TEST_F(PoisonTest, AFreePageLeavesItsPool) {
  w.MakeFile();
  w.Holds("admin poison-free 64M", -ENOENT);
  w.Holds("admin poison-free 64K", -ENOENT);
  w.Holds("admin poison-free 16K node=2", -ENOENT);
  w.Holds("admin poison-free 16K at=16384", -ENOENT);
  w.Breaks("counters", "admin poison-free 16K");
  w.Set(1, 1, 1);
  w.Holds("admin poison-free 16K node=1");
  // Of the other node.
  w.Set(1, 0, 0);
  w.Breaks("counters", "admin poison-free 16K node=0");
}

TEST_F(PoisonTest, AFreePageThatIsReservedStays) {
  w.MakeFile();
  AddFile();
  w.Holds("p0 memfd f1 16K");
  w.files[1].size = 3 * 16384;
  w.files[1].regions = {{0, 3}};
  w.resv() = 3;
  w.Holds("p0 map f1 m1 0 3");
  w.Holds("admin poison-free 16K", -ENOENT);
  w.Set(1, 1, 1);
  w.Breaks("refusal", "admin poison-free 16K");
}

TEST_F(PoisonTest, AFreePageIsLostAsAWholeWithoutMemory) {
  w.MakeFile();
  w.Breaks("refusal", "admin poison-free 16K", -EBUSY);
  w.o.fault_injected = true;
  w.Set(1, 1, 1);
  w.Holds("admin poison-free 16K", -EBUSY);
}

TEST_F(PoisonTest, APageThatCannotBeLookedAt) {
  w.MakeFile();
  w.files[0].pages[0].frame = kNoFrame;
  w.files[0].pages[0].node = -1;
  w.Holds("admin poison f0 0");
  w.files[0].pages[0] = {0, 100, 0};
  w.Holds("p0 bind any");
  w = World(kFourPages);
  w.MakeFile();
  w.files[0].pages[0].frame = kNoFrame;
  w.Breaks("identity", "p0 bind any");
}

// --- chain

TEST_F(JudgeTest, KernelsAreCounted) {
  Retrieved();
  w.o.after.generation = 1;
  w.Breaks("chain", "p0 bind any");
}

TEST_F(JudgeTest, TheSecondUpdateIsLikeTheFirst) {
  Retrieved();
  w.Holds("agent preserve s0 5 f0", -EINVAL);
  w.Holds("agent finish s0");
  w.sessions = {{0, true}, {1, false}};
  w.Holds("agent session s1");
  w.Holds("agent preserve s1 5 f0");
  w.Holds("loader load hugepagesz=16K hugepages=4");
  SeenFile saved = w.files[0];
  w.Reboot();
  w.Holds("agent reboot");
  w.Holds("agent open");
  w.sessions = {{1, true}};
  w.Holds("agent take s1");
  w.files = {saved};
  w.Holds("agent retrieve s1 5 f0");
}

TEST_F(JudgeTest, PowerLosesEverything) {
  w.MakeFile();
  w.Preserve();
  w.Reboot();
  w.Set(0, 2, 2);
  w.Holds("sim power");
  w.Holds("agent open");
  w.Holds("agent take s0", -ENOENT);
}

// --- what runs at the same time

TEST_F(JudgeTest, DuringMayComeFirstOrLast) {
  w.MakeFile();
  w.Holds("sim during 3 p0 write m0 0 9 at=8");
  w.o.during.resize(1);
  w.o.during[0].started = true;
  w.o.outcome.value = 7;
  w.Holds("p0 read m0 0 at=8");
  w.o.outcome.value = 9;
  w.Holds("p0 read m0 0 at=8");
}

TEST_F(JudgeTest, OfTwoWritesAtATimeEitherMayBeLast) {
  for (uint64_t last : {9, 10}) {
    World w(kFourPages);
    w.MakeFile();
    w.Holds("sim during 3 p0 write m0 0 9 at=8");
    w.o.during.resize(1);
    w.o.during[0].started = true;
    w.Holds("p0 write m0 0 a at=8");
    w.o.outcome.value = last;
    w.Holds("p0 read m0 0 at=8");
    w.o.outcome.value = last ^ 3;
    w.Breaks("contents", "p0 read m0 0 at=8");
  }
}

TEST_F(JudgeTest, AGiganticPageMayMoveOthersButNotPreservedOnes) {
  w.MakeFile();
  w.files[0].pages[0].frame = 104;
  w.o.after.pool[2].node[0].nr = w.o.after.pool[2].node[0].free = 1;
  w.Holds("admin nr 256K 1");
  w.Preserve();
  w.files[0].pages[0].frame = 108;
  w.o.after.pool[2].node[0].nr = w.o.after.pool[2].node[0].free = 2;
  w.Breaks("identity", "admin nr 256K 2");
}

TEST_F(JudgeTest, AWriteThatWasKilledNeverHappened) {
  w.MakeFile();
  w.Preserve();
  w.Holds("sim during 40 p0 write m0 1 9");
  w.Reboot();
  w.o.during.resize(1);
  w.o.during[0].started = true;
  w.o.during[0].outcome.kind = Outcome::Kind::kKilled;
  w.Holds("agent reboot");
}

TEST_F(JudgeTest, AWriteThatWasCompletedComesAlong) {
  w.MakeFile();
  w.Preserve();
  w.Holds("sim during 40 p0 write m0 0 9 at=8");
  SeenFile saved = w.files[0];
  w.Reboot();
  w.o.during.resize(1);
  w.o.during[0].started = true;
  w.Holds("agent reboot");
  w.Holds("agent open");
  w.sessions = {{0, true}};
  w.Holds("agent take s0");
  w.files = {saved};
  w.Holds("agent retrieve s0 5 f0");
  w.Holds("p1 map f0 m0 0 2 ro noreserve");
  w.o.outcome.value = 7;
  w.Breaks("no-lost-write", "p1 read m0 0 at=8");
}

// Two private copies of a hole, one of them a surplus page, are taken away by a
// hole punch. As seen on Linux: props/histories/linux.
TEST_F(JudgeTest, CopiesOfOneMappingAreFreedTogether) {
  World one("hugepagesz=16K hugepages=0:1");
  one.Set(0, 1, 1);
  EXPECT_TRUE(one.Boot().empty());
  one.files.emplace_back();
  one.files[0].seals = kSealSeal;
  one.Holds("p0 memfd f0 16K");
  one.files[0].size = 2 * 16384;
  one.Holds("p0 truncate f0 2");
  one.o.after.pool[0].overcommit = 4;
  one.Holds("admin overcommit 16K 4");
  one.Set(0, 2, 2, 1);
  one.resv() = 2;
  one.Holds("p0 map f0 m0 0 2 private");
  for (int page : {0, 1}) {
    one.Set(0, 2, 1 - page, 1);
    one.resv() = 1 - page;
    one.o.outcome.frame = 100 + 4 * page;
    one.o.outcome.node = 0;
    one.Holds(absl::StrCat("p0 write m0 ", page, " 1"));
  }
  one.Set(0, 1, 1);
  one.resv() = 1;
  one.Breaks("counters", "p0 punch f0 0 2");
}

TEST_F(JudgeTest, CopiesOfTwoMappingsAreFreedOneAfterTheOther) {
  World two("hugepagesz=16K hugepages=0:1");
  two.Set(0, 1, 1);
  EXPECT_TRUE(two.Boot().empty());
  two.files.emplace_back();
  two.files[0].seals = kSealSeal;
  two.Holds("p0 memfd f0 16K");
  two.files[0].size = 2 * 16384;
  two.Holds("p0 truncate f0 2");
  two.o.after.pool[0].overcommit = 4;
  two.Holds("admin overcommit 16K 4");
  two.resv() = 1;
  two.Holds("p0 map f0 m0 0 1 private");
  two.Set(0, 2, 2, 1);
  two.resv() = 2;
  two.Holds("p0 map f0 m1 0 1 private");
  for (int mapping : {0, 1}) {
    two.Set(0, 2, 1 - mapping, 1);
    two.resv() = 1 - mapping;
    two.o.outcome.frame = 100 + 4 * mapping;
    two.o.outcome.node = 0;
    two.Holds(absl::StrCat("p0 write m", mapping, " 0 1"));
  }
  two.Set(0, 1, 1);
  two.resv() = 1;
  two.Holds("p0 punch f0 0 2");
  // The one that was freed last has its reservation again.
  two.Set(0, 1, 0);
  two.resv() = 0;
  two.o.outcome.frame = 100;
  two.o.outcome.node = 0;
  two.Holds("p0 write m1 0 3");
}

// Two copies of what m0 has reserved are there, on node 0.
void MakeTwoCopies(World* w) {
  w->Set(0, 3, 3);
  w->Set(1, 0, 0);
  EXPECT_TRUE(w->Boot().empty());
  w->files.emplace_back();
  w->files[0].seals = kSealSeal;
  w->Holds("p0 memfd f0 16K");
  w->files[0].size = 3 * 16384;
  w->resv() = 3;
  w->Holds("p0 map f0 m0 0 3 private");
  for (int page : {0, 1}) {
    w->Set(0, 3, 2 - page);
    w->resv() = 2 - page;
    w->o.outcome.frame = 100 + 4 * page;
    w->o.outcome.node = 0;
    w->Holds(absl::StrCat("p0 write m0 ", page, " 1"));
  }
}

// Where there is no memory for it, a copy does not give its reservation back.
TEST_F(JudgeTest, ACopyThatCannotGiveBackItsReservation) {
  for (const bool failed : {false, true}) {
    World one("hugepagesz=16K hugepages=0:3");
    MakeTwoCopies(&one);
    one.Set(0, 3, 2);
    one.resv() = 1;
    one.o.fault_injected = failed;
    if (!failed) {
      one.Breaks("counters", "p0 punch f0 1 1");
      continue;
    }
    one.Holds("p0 punch f0 1 1");
    // It is used up, and there is no doubt about that.
    one.Set(0, 3, 1);
    one.o.outcome.frame = 104;
    one.o.outcome.node = 0;
    one.Holds("p0 write m0 1 3");
    one.resv() = 0;
    one.Breaks("counters", "p0 bind any");
  }
}

// Nor does a fault that fails.
TEST_F(JudgeTest, AFaultThatCannotGiveBackItsReservation) {
  for (const bool failed : {false, true}) {
    World one("hugepagesz=16K hugepages=0:3");
    MakeTwoCopies(&one);
    one.resv() = 0;
    one.o.outcome.kind = Outcome::Kind::kSigbus;
    one.o.fault_injected = failed;
    if (!failed) {
      one.Breaks("counters", "p0 write m0 2 1");
      continue;
    }
    one.Holds("p0 write m0 2 1");
    // The end of the mapping gives nothing back.
    one.Set(0, 3, 3);
    one.Holds("p0 unmap m0");
    one.resv() = 1;
    one.Breaks("counters", "p0 bind any");
  }
}

// Which of two did not is not known. What is reserved afterwards is, once the
// mapping is gone.
TEST_F(JudgeTest, OneOfTwoCopiesThatCannotGiveBackItsReservation) {
  for (const int page : {0, 1}) {
    World two("hugepagesz=16K hugepages=0:3");
    MakeTwoCopies(&two);
    two.Set(0, 3, 3);
    two.resv() = 2;
    two.o.fault_injected = true;
    two.Holds("p0 punch f0 0 2");
    for (const int64_t at : {page, 1 - page}) {
      two.Set(0, 3, at == page ? 2 : 1);
      two.resv() = at == page ? 2 : 1;
      two.o.outcome.frame = 100 + 4 * at;
      two.o.outcome.node = 0;
      two.Holds(absl::StrCat("p0 write m0 ", at, " 3"));
    }
    two.Set(0, 3, 3);
    two.resv() = 0;
    two.Holds("p0 unmap m0");
    two.resv() = 1;
    two.Breaks("counters", "p0 bind any");
  }
}

// A copy that is freed as surplus gives what it had to its mount, the next one
// to its mapping or, as the mount has enough then, to nobody.
TEST_F(JudgeTest, CopiesOfTwoMappingsOfAMount) {
  for (const int resv : {0, 1, 2}) {
    World two("hugepagesz=16K hugepages=0:3");
    two.Set(0, 3, 3);
    two.Set(1, 0, 0);
    EXPECT_TRUE(two.Boot().empty());
    two.files.emplace_back();
    two.files[0].seals = kSealSeal;
    two.resv() = 1;
    two.Holds("p0 mount f0 16K min_size=1");
    two.files[0].size = 16384;
    two.Holds("p0 truncate f0 1");
    two.Holds("p0 map f0 m0 0 1 private");
    two.Holds("p0 map f0 m1 0 1 private noreserve");
    for (int mapping : {0, 1}) {
      two.Set(0, 3, 2 - mapping);
      two.resv() = 0;
      two.o.outcome.frame = 100 + 4 * mapping;
      two.o.outcome.node = 0;
      two.Holds(absl::StrCat("p0 write m", mapping, " 0 1"));
    }
    two.Set(0, 2, 0, 1);
    two.Holds("admin nr 16K 1");
    two.Set(0, 1, 1);
    two.resv() = resv;
    // In the other order the second one gives back what it had reserved, and
    // the mount has its own: two of one page.
    if (resv == 0) {
      two.Breaks("counters", "p0 punch f0 0 1");
    } else {
      two.Holds("p0 punch f0 0 1");
    }
  }
}

// --- what a real machine does not show

// Four free pages of 16K that are to be handed over, to a kernel that asks for
// none.
class FreeTest : public ::testing::Test {
 protected:
  FreeTest() : w_(kFourPages) {
    w_.Set(0, 2, 2);
    w_.Set(1, 2, 2);
    EXPECT_TRUE(w_.Boot().empty());
  }

  void Choose() {
    w_.Holds("admin preserve-free 16K on");
    w_.Holds("loader load");
  }

  // As it is on a real machine, where only the log says how many.
  void HandOver(int on_node_0, int on_node_1) {
    w_.Reboot();
    w_.o.handing.clear();
    if (on_node_0 > 0) w_.o.handing.push_back({16384, 0, on_node_0});
    if (on_node_1 > 0) w_.o.handing.push_back({16384, 1, on_node_1});
    w_.came_free = {on_node_0, on_node_1};
    w_.Set(0, on_node_0, on_node_0);
    w_.Set(1, on_node_1, on_node_1);
  }

  World w_;
};

TEST_F(FreeTest, ComeAlong) {
  Choose();
  HandOver(2, 2);
  w_.Holds("agent reboot");
}

TEST_F(FreeTest, AreNotInThePool) {
  Choose();
  HandOver(2, 2);
  w_.Set(1, 1, 1);
  w_.Breaks("boot-budget", "agent reboot");
}

TEST_F(FreeTest, AreInUse) {
  Choose();
  HandOver(2, 2);
  w_.Set(1, 2, 0);
  w_.Breaks("boot-budget", "agent reboot");
}

TEST_F(FreeTest, AreMoreThanThereWere) {
  Choose();
  HandOver(2, 3);
  w_.Breaks("boot-budget", "agent reboot");
}

TEST_F(FreeTest, AreFewerThanCouldBe) {
  Choose();
  HandOver(2, 1);
  w_.o.before.pool[0].node[0].fit = 2;
  w_.o.before.pool[0].node[1].fit = 2;
  w_.Breaks("boot-budget", "agent reboot");
}

TEST_F(FreeTest, ComeUnasked) {
  w_.Holds("loader load");
  HandOver(2, 2);
  w_.Breaks("boot-budget", "agent reboot");
}

TEST_F(FreeTest, ChoiceCanBeTakenBackAndDoesNotGoAlong) {
  Choose();
  w_.o.after.pool[0].preserve_free = 1;
  w_.Holds("p0 bind 0");
  w_.o.after.pool[0].preserve_free = 0;
  w_.Holds("admin preserve-free 16K off");
  HandOver(0, 0);
  w_.Holds("agent reboot");
  w_.o.handing.clear();
  w_.o.after.pool[0].preserve_free = 1;
  w_.Breaks("counters", "p0 bind 0");
}

TEST_F(FreeTest, ChoiceIsOneOfSizesThatThereAre) {
  w_.Holds("admin preserve-free 2M on", -ENOENT);
  w_.Breaks("refusal", "admin preserve-free 16K on", -EOPNOTSUPP);
}

TEST_F(JudgeTest, ReservationMapsNeedNotBeKnown) {
  w.MakeFile();
  w.files[0].regions.clear();
  w.o.after.regions_known = false;
  w.Holds("p0 write m0 0 8 at=8");
  // They are still what they should be.
  w.o.after.regions_known = true;
  w.Breaks("metadata", "p0 write m0 0 9 at=8");
}

TEST_F(JudgeTest, QuarantineNeedNotBeKnown) {
  w.MakeFile();
  w.Preserve();
  w.Holds("loader load no-size=16K hugepagesz=64K");
  w.Reboot();
  w.o.after.nr_pools = 2;
  w.o.after.pool[0] = w.o.after.pool[1];
  w.o.after.pool[1] = w.o.after.pool[2];
  w.o.after.quarantine_known = false;
  w.o.after.reported = {{16 << 10, 0, 1}};
  w.Holds("agent reboot");
  w.o.after.quarantine_known = true;
  w.Breaks("quarantine", "agent open");
}

TEST_F(JudgeTest, WhatIsRefusedIsReportedThoughNobodySawTheTable) {
  w.MakeFile();
  w.Preserve();
  w.Holds("loader load no-size=16K hugepagesz=64K");
  w.Reboot();
  w.o.after.nr_pools = 2;
  w.o.after.pool[0] = w.o.after.pool[1];
  w.o.after.pool[1] = w.o.after.pool[2];
  w.o.after.quarantined = {{16 << 10, 0, 1}};
  w.Breaks("quarantine", "agent reboot");
}

TEST_F(JudgeTest, AMissingPageSizeIsNamedThoughNobodySawTheTable) {
  w.MakeFile();
  w.Preserve();
  w.Holds("loader load no-size=16K hugepagesz=64K");
  w.Reboot();
  w.o.after.nr_pools = 2;
  w.o.after.pool[0] = w.o.after.pool[1];
  w.o.after.pool[1] = w.o.after.pool[2];
  w.o.after.quarantined = w.o.after.reported = {{16 << 10, 0, 1}};
  w.Holds("agent reboot");
  w.Holds("agent open");
  w.sessions = {{0, true}};
  w.Holds("agent take s0");
  w.Holds("agent retrieve s0 5 f0", -EOPNOTSUPP);
  w.Breaks("refusal", "agent retrieve s0 5 f0", -EIO);
}

// An update that fails may have moved late pages, but none that was pinned when
// the file was preserved.
TEST_F(JudgeTest, OnlyLatePagesMoveInAFailedUpdate) {
  for (const size_t moved : {0, 1}) {
    World other(kFourPages);
    other.MakeFile();
    other.Preserve();
    other.files[0].pages.push_back({1, 200, 1});
    other.files[0].regions = {{0, 2}};
    other.Set(1, 2, 1);
    other.o.outcome.frame = 200;
    other.o.outcome.node = 1;
    other.Holds("p0 write m0 1 9");
    other.files[0].pages[moved].frame = 300;
    if (moved == 0) {
      other.Breaks("exact-rollback", "agent reboot", -ENOMEM);
    } else {
      other.Holds("agent reboot", -ENOMEM);
    }
  }
}

// A late page moves out of scratch when it is frozen, which nobody sees who
// looks before.
TEST_F(JudgeTest, ALatePageMayMoveAfterTheLastLook) {
  for (bool exact : {false, true}) {
    World other(kFourPages);
    other.MakeFile();
    other.Preserve();
    other.files[0].pages.push_back({1, 200, 1});
    other.files[0].regions = {{0, 2}};
    other.Set(1, 2, 1);
    other.o.outcome.frame = 200;
    other.o.outcome.node = 1;
    other.Holds("p0 write m0 1 9");
    SeenFile saved = other.files[0];
    other.Reboot();
    other.o.before_exact = exact;
    other.Set(0, 2, 1);
    other.Set(1, 2, 1);
    other.Holds("agent reboot");
    other.Holds("agent open");
    other.sessions = {{0, true}};
    other.Holds("agent take s0");
    saved.pages[1].frame = 300;
    other.files = {saved};
    if (exact) {
      other.Breaks("identity", "agent retrieve s0 5 f0");
    } else {
      other.Holds("agent retrieve s0 5 f0");
    }
  }
}

TEST_F(JudgeTest, Warnings) {
  w.MakeFile();
  w.o.warned = true;
  w.Breaks("discipline", "p0 bind any");
}

// --- Control groups: metadata, counters

constexpr CgroupPath kC0 = ChildPath(kRootPath, 0);

class JudgeCgroupTest : public JudgeTest {
 protected:
  static constexpr int64_t kPage = 4;  // 4 KiB pages of a 16K page

  // f0 and its page, which c0 is charged for; p0 is in c0, which is limited.
  void Charged(int64_t limit = -1) {
    w.KnowCharges();
    w.Set(0, 2, 2);
    w.Set(1, 2, 2);
    EXPECT_TRUE(w.Boot().empty());
    w.AddCgroup(kC0);
    w.Holds("admin cgroup c0");
    w.Holds("admin move p0 c0");
    if (limit >= 0) {
      w.o.after.cgroups[1].usage[0].max = limit * kPage;
      w.Holds(absl::StrCat("admin limit c0 usage 16K ", limit));
    }
    w.files.emplace_back();
    w.Holds("p0 memfd f0 16K sealable");
    w.files[0].size = 2 * 16384;
    w.Holds("p0 map f0 m0 0 2 noreserve");
    w.owners = {kC0, kC0, kC0};
  }
  void ShowPage() {
    w.files[0].pages = {{0, 100, 0, w.owners}};
    w.files[0].regions = {{0, 1}};
    w.Set(0, 2, 1);
    w.o.after.cgroups[1].usage[0].used = kPage;
    w.o.outcome.frame = 100;
    w.o.outcome.node = 0;
  }
};

TEST_F(JudgeCgroupTest, WhoTouchesAPageIsCharged) {
  Charged();
  ShowPage();
  w.Holds("p0 write m0 0 7");
  w.files[0].pages[0].owners[0] = kRootPath;
  w.o.outcome.value = 7;
  w.Breaks("metadata", "p0 read m0 0");
}

TEST_F(JudgeCgroupTest, WrongFromTheStart) {
  Charged();
  w.owners = {kC0, kNobody, kC0};
  ShowPage();
  w.Breaks("metadata", "p0 write m0 0 7");
}

TEST_F(JudgeCgroupTest, LimitsAreKept) {
  Charged(0);
  w.o.outcome.kind = Outcome::Kind::kSigbus;
  w.Holds("p0 write m0 0 7");
  ShowPage();
  w.Breaks("counters", "p0 write m0 0 7");
}

TEST_F(JudgeCgroupTest, LimitsAreNoPretext) {
  Charged(1);
  w.o.outcome.kind = Outcome::Kind::kSigbus;
  // There is a page, and room for it.
  w.Breaks("counters", "p0 write m0 0 7");
}

TEST_F(JudgeCgroupTest, GroupsThatCannotBe) {
  Charged();
  w.Holds("admin cgroup c0", -EEXIST);
  w.Holds("admin cgroup c1 in=c2", -ENOENT);
  w.Holds("admin rmdir c0", -EBUSY);
  w.Holds("admin rmdir c1", -ENOENT);
  w.Holds("admin move agent c1", -ENOENT);
  w.Holds("admin limit c1 rsvd 16K 1", -ENOENT);
  w.Breaks("refusal", "admin limit c0 usage 16K 0", -EBUSY);
  ShowPage();
  w.Holds("p0 write m0 0 7");
  w.Holds("admin limit c0 usage 16K 0", -EBUSY);
  w.Holds("admin move p0 root");
  // What it was charged for is its parent's.
  w.o.after.cgroups.pop_back();
  w.Breaks("metadata", "admin rmdir c0");
}

TEST_F(JudgeCgroupTest, RemovedGroupLeavesItsPages) {
  Charged();
  ShowPage();
  w.Holds("p0 write m0 0 7");
  w.Holds("admin move p0 root");
  w.o.after.cgroups.pop_back();
  w.files[0].pages[0].owners = {kRootPath, kRootPath, kRootPath};
  w.Holds("admin rmdir c0");
}

// The next kernel has the group again, and a limit there.
TEST_F(JudgeCgroupTest, RetrievedAtItsOwnersCharge) {
  Charged();
  ShowPage();
  w.Holds("p0 write m0 0 7");
  w.Preserve();
  const SeenFile saved = w.files[0];
  w.Reboot();
  w.o.after.cgroups = {CgroupView()};
  w.HandOver();
  TableView::Owner owner;
  owner.held = owner.magic = owner.checksum = owner.ended = true;
  owner.nr = 1;
  owner.path = w.owners;
  w.o.handed.files[0].nr_owners = 1;
  w.o.handed.files[0].owners = {owner};
  w.o.handed.files[0].runs.blocks[0].runs[0].owner = 1;
  w.Holds("agent reboot");
  CgroupView& group = w.AddCgroup(kC0);
  w.Holds("admin cgroup c0");
  group.memory.max = 0;
  w.Holds("admin limit c0 memory 16K 0");
  w.Holds("agent open");
  w.sessions = {{0, true}};
  w.Holds("agent take s0");
  w.Breaks("refusal", "agent retrieve s0 5 f0", -ENOMEM);
  w.Holds("agent retrieve s0 5 f0", -EAGAIN);
  w.o.after.cgroups[1].memory.max = -1;
  w.Holds("admin limit c0 memory 16K max");
  w.files = {saved};
  w.files[0].inode = 9;
  w.files[0].pages[0].owners[0] = kRootPath;
  w.Breaks("metadata", "agent retrieve s0 5 f0");
}

}  // namespace
}  // namespace handover::model
