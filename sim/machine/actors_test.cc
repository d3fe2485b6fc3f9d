// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/actors.h"

#include <ctime>
#include <iostream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "sim/machine/crash.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

// What the last oops or lockup says.
bool Says(const Machine& machine, const char* regex) {
  const std::string& what = machine.violations().back().what;
  return std::regex_match(what, std::regex(regex)) ||
         (std::cerr << what << "\n", false);
}

class ActorsTest : public testing::Test {
 protected:
  ActorsTest() : machine_(*MakeGeometry("small", 2), 1) {}

  void Say(const std::string& word) {
    said_ += said_.empty() ? word : " " + word;
  }

  Machine machine_;
  const int p0_ = ActorByName("p0");
  const int p1_ = ActorByName("p1");
  const int p2_ = ActorByName("p2");
  int door_ = 0;  // its address is a channel
  std::string said_;
};

TEST_F(ActorsTest, NamesAreNumberedInTheOrderOfFirstUse) {
  EXPECT_EQ(p0_, 0);
  EXPECT_EQ(ActorByName("p1"), 1);
  EXPECT_EQ(ActorName(2), "p2");
  EXPECT_EQ(ActorName(-1), "boot");
  EXPECT_EQ(CurrentActor(), -1);
}

TEST_F(ActorsTest, RunsToTheEnd) {
  EXPECT_EQ(RunOnActor(p1_,
                       [&] {
                         EXPECT_EQ(CurrentActor(), p1_);
                         EXPECT_EQ(StateOf(p1_), ActorState::kRunnable);
                         Step("a");
                         Step("b");
                         Say("done");
                       }),
            RunResult::kDone);
  EXPECT_EQ(said_, "done");
  EXPECT_EQ(StateOf(p1_), ActorState::kIdle);
  EXPECT_EQ(StepsOfLastRun(), 2u);
  EXPECT_EQ(CurrentActor(), -1);
}

TEST_F(ActorsTest, BlocksUntilSomebodyWakesTheChannel) {
  EXPECT_EQ(RunOnActor(p0_,
                       [&] {
                         EXPECT_FALSE(Block(&door_, false));
                         Say("p0 goes on");
                       }),
            RunResult::kBlocked);
  EXPECT_EQ(StateOf(p0_), ActorState::kBlocked);
  EXPECT_EQ(RunOnActor(p1_, [&] { WakeAll(&said_); }), RunResult::kDone);
  EXPECT_EQ(StateOf(p0_), ActorState::kBlocked);
  EXPECT_EQ(RunOnActor(p1_,
                       [&] {
                         WakeAll(&door_);
                         EXPECT_EQ(StateOf(p0_), ActorState::kRunnable);
                         Say("p1 is done");
                       }),
            RunResult::kDone);
  EXPECT_EQ(said_, "p1 is done p0 goes on");
  EXPECT_EQ(StateOf(p0_), ActorState::kIdle);
}

TEST_F(ActorsTest, WokenActorsRunByNumber) {
  for (int actor : {p2_, p0_}) {
    RunOnActor(actor, [this] {
      Block(&door_, false);
      Say(std::string(ActorName(CurrentActor())));
    });
  }
  RunOnActor(p1_, [&] { WakeAll(&door_); });
  EXPECT_EQ(said_, "p0 p2");
}

TEST_F(ActorsTest, BlockedPrimaryGoesOnInTheSameRun) {
  PlanDuring(1, p1_, [&] {
    Say("first");
    Block(&door_, false);
    Say("third");
  });
  EXPECT_EQ(RunOnActor(p0_,
                       [&] {
                         Step("a");
                         Say("second");
                         WakeAll(&door_);
                       }),
            RunResult::kDone);
  EXPECT_EQ(said_, "first second third");
}

TEST_F(ActorsTest, DuringStartsAtItsStep) {
  PlanDuring(2, p1_, [&] { Say("during"); });
  EXPECT_EQ(RunOnActor(p0_,
                       [&] {
                         Step("a");
                         Say("after-1");
                         Step("b");
                         Say("after-2");
                       }),
            RunResult::kDone);
  EXPECT_EQ(said_, "after-1 during after-2");
}

TEST_F(ActorsTest, DuringComesAfterwardsWhenThereAreTooFewSteps) {
  PlanDuring(5, p1_, [&] { Say("during"); });
  RunOnActor(p0_, [&] { Say("primary"); });
  EXPECT_EQ(said_, "primary during");
  // It is gone with the run that it was for.
  RunOnActor(p0_, [&] { Say("again"); });
  EXPECT_EQ(said_, "primary during again");
}

TEST_F(ActorsTest, DuringStartsWhenThePrimaryIsStuck) {
  PlanDuring(5, p1_, [&] {
    Say("wakes");
    WakeAll(&door_);
  });
  EXPECT_EQ(RunOnActor(p0_,
                       [&] {
                         Block(&door_, false);
                         Say("woken");
                       }),
            RunResult::kDone);
  EXPECT_EQ(said_, "wakes woken");
}

TEST_F(ActorsTest, SeveralPlansAndNestedOnes) {
  PlanDuring(1, p2_, [&] {
    Say("p2-begin");
    Step("inner");  // the second step of the run
    Say("p2-end");
  });
  PlanDuring(2, p1_, [&] { Say("p1"); });
  PlanDuring(1, p1_, [&] { Say("p1-first"); });
  RunOnActor(p0_, [&] {
    Step("outer");
    Say("p0");
  });
  // Step 1 starts p2; step 2, inside it, the first plan of p1. Then the actor
  // with the lowest number goes on, still in its step: the second plan of p1 is
  // due as well.
  EXPECT_EQ(said_, "p2-begin p1-first p1 p0 p2-end");
}

TEST_F(ActorsTest, PlanForABlockedActorIsDropped) {
  RunOnActor(p1_, [&] { Block(&door_, false); });
  PlanDuring(1, p1_, [&] { Say("never"); });
  RunOnActor(p0_, [&] { Step("a"); });
  RunOnActor(p0_, [&] { WakeAll(&door_); });
  EXPECT_EQ(said_, "");
}

TEST_F(ActorsTest, KillWakesOnlyKillableWaits) {
  RunOnActor(p0_, [&] {
    EXPECT_TRUE(Block(&door_, true));
    EXPECT_TRUE(FatalSignalPending());
    Say("p0 killed");
    EXPECT_TRUE(Block(&door_, true)) << "still pending";
  });
  RunOnActor(p1_, [&] {
    EXPECT_FALSE(Block(&door_, false));
    EXPECT_TRUE(FatalSignalPending());
    Say("p1 woken");
  });
  Kill(p0_);
  Kill(p1_);
  EXPECT_EQ(RunRunnable(), RunResult::kDone);
  EXPECT_EQ(said_, "p0 killed");
  EXPECT_EQ(StateOf(p1_), ActorState::kBlocked);
  RunOnActor(p2_, [&] { WakeAll(&door_); });
  EXPECT_EQ(said_, "p0 killed p1 woken");
  RunOnActor(p0_, [&] { EXPECT_FALSE(FatalSignalPending()); });
}

TEST_F(ActorsTest, StopKernelDropsEveryStack) {
  auto token = std::make_shared<int>(7);
  RunOnActor(p0_, [this, token] {
    Block(&door_, false);
    Say("never");
  });
  PlanDuring(9, p1_, [this] { Say("never"); });
  EXPECT_EQ(RunOnActor(p2_,
                       [token] {
                         Step("a");
                         StopKernel();
                       }),
            RunResult::kKernelDown);
  EXPECT_EQ(StateOf(p0_), ActorState::kIdle);
  EXPECT_EQ(token.use_count(), 1) << "what the functions captured is freed";
  RunOnActor(p0_, [&] {
    WakeAll(&door_);
    Say("anew");
  });
  EXPECT_EQ(said_, "anew");
}

TEST_F(ActorsTest, StopKernelFromADuring) {
  PlanDuring(1, p1_, [] { StopKernel(); });
  EXPECT_EQ(RunOnActor(p0_,
                       [&] {
                         Step("a");
                         Say("never");
                       }),
            RunResult::kKernelDown);
  EXPECT_EQ(said_, "");
}

TEST_F(ActorsTest, StacksAreUsedAgain) {
  for (int i = 0; i < 3000; ++i) {
    RunOnActor(p0_, [&] {
      volatile char frame[4096];
      frame[i % 4096] = 1;
      static_cast<void>(frame[0]);
      Block(&door_, false);
    });
    RunOnActor(p1_, [] { StopKernel(); });
  }
  for (int i = 0; i < 1000; ++i) {
    ResetActors();
    RunOnActor(ActorByName("x"), [&] { Block(&door_, false); });
  }
}

TEST_F(ActorsTest, StopHistoryIsTheEnd) {
  EXPECT_EQ(RunOnActor(p0_, [] { StopHistory(); }), RunResult::kBug);
  EXPECT_EQ(StateOf(p1_), ActorState::kDead);
  EXPECT_EQ(RunOnActor(p1_, [&] { Say("never"); }), RunResult::kBug);
  EXPECT_EQ(RunBoot([&] { Say("never"); }), RunResult::kBug);
  EXPECT_EQ(said_, "");
  ResetActors();
  EXPECT_EQ(RunOnActor(ActorByName("p1"), [] {}), RunResult::kDone);
}

TEST_F(ActorsTest, BootRunsWithoutActor) {
  EXPECT_FALSE(CanStop());
  EXPECT_EQ(RunBoot([&] {
              EXPECT_EQ(CurrentActor(), -1);
              EXPECT_TRUE(CanStop());
              Step("a");
              MightSleep("b");
            }),
            RunResult::kDone);
  EXPECT_TRUE(machine_.violations().empty());
}

TEST_F(ActorsTest, BootThatWaitsIsADeadlock) {
  EXPECT_EQ(RunBoot([&] { Block(&door_, true); }), RunResult::kBug);
  ASSERT_EQ(machine_.violations().size(), 1u);
  EXPECT_EQ(machine_.violations()[0].property, "discipline");
  EXPECT_EQ(machine_.violations()[0].what,
            "boot waits, and nobody is there to wake it");
}

TEST_F(ActorsTest, SleepingUnderASpinlockIsReported) {
  RunOnActor(p1_, [] {
    SpinlocksHeldDelta(1);
    EXPECT_EQ(SpinlocksHeld(), 1);
    MightSleep("kmalloc");
    SpinlocksHeldDelta(-1);
    MightSleep("kmalloc");
  });
  ASSERT_EQ(machine_.violations().size(), 1u);
  EXPECT_EQ(machine_.violations()[0].what,
            "p1 sleeps in kmalloc under a spinlock");
}

TEST_F(ActorsTest, SpinlocksAreCountedByActor) {
  PlanDuring(1, p1_, [] { EXPECT_EQ(SpinlocksHeld(), 0); });
  RunOnActor(p0_, [] {
    SpinlocksHeldDelta(1);
    Step("a");
    EXPECT_EQ(SpinlocksHeld(), 1);
    SpinlocksHeldDelta(-1);
  });
}

// Never inlined: oopses name them.
[[gnu::noipa]] void WriteTo(uintptr_t address) {
  *reinterpret_cast<volatile int*>(address) = 1;
}
[[gnu::noipa]] void CallWriteTo(uintptr_t address) {
  WriteTo(address);
  asm volatile("");  // no tail call
}
[[gnu::noipa]] void SpinWhile(volatile bool* forever) {
  while (*forever) {
  }
}

TEST_F(ActorsTest, WildAccessEndsTheHistory) {
  EXPECT_EQ(RunOnActor(p0_, [] { CallWriteTo(0x5a5a5a5a5a5a5a58); }),
            RunResult::kBug);
  ASSERT_EQ(machine_.violations().size(), 1u);
  EXPECT_TRUE(Says(machine_,
                   "Oops in p0: access at a non-canonical address, at "
                   "WriteTo\\+0x[0-9a-f]+/0x[0-9a-f]+ \\(0x[0-9a-f]+\\), "
                   "called by CallWriteTo\\+0x[0-9a-f]+/0x[0-9a-f]+.*"));
  ResetActors();
  // In the hole before the first frame, twice: signals still come.
  for (int i = 0; i < 2; ++i) {
    RunBoot(
        [&] { *static_cast<volatile char*>(machine_.memory().base()) = 1; });
    EXPECT_TRUE(machine_.violations().back().what.starts_with(
        "Oops in boot: access to physical address 0, where nothing "
        "is, at "));
    ResetActors();
  }
}

// A host's address may be told, but the digest is the same with any.
TEST_F(ActorsTest, DigestHasNoAddressOfAnOops) {
  auto digest = [](uintptr_t address, std::string* what) {
    Machine machine(*MakeGeometry("small", 1), 1);
    RunOnActor(ActorByName("p0"), [address] { WriteTo(address); });
    *what = machine.violations().at(0).what;
    return machine.digest();
  };
  std::string one, other;
  EXPECT_EQ(digest(0x100000, &one), digest(0x100008, &other));
  EXPECT_TRUE(
      one.starts_with("Oops in p0: access through a wild pointer to "
                      "0x100000, at WriteTo+"))
      << one;
  EXPECT_NE(one, other);
}

int Deep(int depth) {
  volatile char frame[1024];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : Deep(depth - 1) + frame[0];
}

TEST_F(ActorsTest, StackOverflowEndsTheHistory) {
  EXPECT_EQ(RunOnActor(p0_, [] { Deep(100000); }), RunResult::kBug);
  ASSERT_EQ(machine_.violations().size(), 1u);
  EXPECT_TRUE(Says(machine_,
                   "Oops in p0: access through a wild pointer to "
                   "0x[0-9a-f]+, at Deep\\+.*, called by Deep\\+.*"));
  ResetActors();
  EXPECT_EQ(RunOnActor(ActorByName("p0"), [] { Deep(20); }), RunResult::kDone);
}

TEST_F(ActorsTest, EndlessLoopIsASoftLockup) {
  SetSoftLockupLimit(1);
  for (int i = 0; i < 2; ++i) {  // the watchdog goes on watching
    volatile bool forever = true;
    EXPECT_EQ(RunOnActor(ActorByName("p0"), [&] { SpinWhile(&forever); }),
              RunResult::kBug);
    ASSERT_EQ(machine_.violations().size(), static_cast<size_t>(i) + 1);
    EXPECT_EQ(machine_.violations().back().property, "discipline");
    EXPECT_TRUE(machine_.violations().back().what.starts_with(
        "soft lockup: p0 computes without end, with no step "
        "in between, at SpinWhile+0x"));
    ResetActors();
  }
  SetSoftLockupLimit(0);
}

TEST_F(ActorsTest, LongWorkWithStepsIsNoSoftLockup) {
  SetSoftLockupLimit(1);
  auto busy = [](auto step) {
    const std::clock_t start = std::clock();
    while (std::clock() - start < CLOCKS_PER_SEC * 4 / 10) step();
  };
  EXPECT_EQ(RunOnActor(p0_, [&] { busy([] { Step("a"); }); }),
            RunResult::kDone);
  busy([] {});  // no actor at all
  EXPECT_TRUE(machine_.violations().empty());
  SetSoftLockupLimit(0);
}

TEST_F(ActorsTest, DigestDependsOnWhoStepsWhere) {
  auto digest = [](const char* actor, const char* what) {
    Machine machine(*MakeGeometry("small", 1), 1);
    RunOnActor(ActorByName("p0"), [] {});
    RunOnActor(ActorByName(actor), [&] { Step(what); });
    return machine.digest();
  };
  EXPECT_EQ(digest("p1", "a"), digest("p1", "a"));
  EXPECT_NE(digest("p1", "a"), digest("p1", "b"));
  EXPECT_NE(digest("p1", "a"), digest("p0", "a"));
}

}  // namespace
}  // namespace sim
