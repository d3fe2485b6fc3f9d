// SPDX-License-Identifier: BSD-3-Clause
//
// What a window on a huge page takes for steps of the design and what it does
// not; props/refinement_test.cc looks at the kernel code through it.
#include "model/refinement.h"

#include <gtest/gtest.h>

#include "model/design.h"

namespace handover::model {
namespace {

class PageWindow : public testing::Test {
 protected:
  PageWindow()
      : shadow_(*FindDesign("free-pools"), Shadow::Window::kPage),
        tracker_(&shadow_) {
    now_.kind = PageSight::kFree;
  }

  // In a reboot call, and in any other one.
  bool Reboots() { return tracker_.Step(now_, /*reboots=*/true); }
  bool Other() { return tracker_.Step(now_, /*reboots=*/false); }
  bool Rest() { return tracker_.Rest(now_, /*reboots=*/false); }
  bool Back() { return tracker_.Rest(now_, /*reboots=*/true); }
  bool Stop() { return tracker_.Stop(now_); }
  bool Boot(bool damage = false) {
    now_.generation = 2;
    now_.key = now_.listed = now_.list = now_.recorded = now_.stray = false;
    return tracker_.Boot(now_, damage);
  }

  void Key() {
    now_.key = true;
    ASSERT_TRUE(Reboots());
  }
  // It is found to be free, and the list is published.
  void List() {
    Key();
    now_.listed = now_.list = true;
    ASSERT_TRUE(Reboots());
  }
  // It is in use, and handed over with its file.
  void Record() {
    now_.kind = PageSight::kUsed;
    ASSERT_TRUE(Other());
    now_.key = true;
    ASSERT_TRUE(Other());
    ASSERT_TRUE(Rest());
    now_.recorded = true;
    ASSERT_TRUE(Stop());
    now_.kind = PageSight::kElsewhere;
    now_.held = true;
    ASSERT_TRUE(Boot());
    ASSERT_TRUE(Rest());
  }

  Shadow shadow_;
  Tracker tracker_;
  PageSight now_;
};

TEST_F(PageWindow, AFreePageIsListedAndFreeAgain) {
  List();
  EXPECT_TRUE(Stop());
  EXPECT_TRUE(Boot());
  EXPECT_TRUE(Rest());
}

TEST_F(PageWindow, AListedPageMayBeTakenAfterwards) {
  List();
  now_.kind = PageSight::kUsed;
  EXPECT_TRUE(Reboots());
  EXPECT_TRUE(Stop());
  now_.kind = PageSight::kFree;
  EXPECT_TRUE(Boot());
}

TEST_F(PageWindow, AListedPageHasNothingElseInIt) {
  List();
  now_.kind = PageSight::kElsewhere;
  EXPECT_TRUE(Reboots());
  now_.meta = true;
  EXPECT_FALSE(Reboots());
}

TEST_F(PageWindow, APageThatWasTakenBeforeIsNotListed) {
  Key();
  now_.kind = PageSight::kUsed;
  EXPECT_TRUE(Reboots());
  now_.key = false;
  now_.list = true;
  EXPECT_TRUE(Reboots());
  EXPECT_TRUE(Stop());
  now_.kind = PageSight::kElsewhere;
  EXPECT_TRUE(Boot());
}

TEST_F(PageWindow, ListingAPageThatWasTakenBeforeItsKeyIsNoStep) {
  now_.kind = PageSight::kUsed;
  EXPECT_TRUE(Reboots());
  Key();
  now_.listed = now_.list = true;
  EXPECT_FALSE(Reboots());
}

TEST_F(PageWindow, AKeyThatStaysIsNoStep) {
  Key();
  now_.kind = PageSight::kUsed;
  EXPECT_TRUE(Reboots());
  EXPECT_FALSE(Stop());
}

TEST_F(PageWindow, AKeyThatStaysElsewhereIsNoStep) {
  Key();
  now_.kind = PageSight::kElsewhere;
  now_.key = false;
  now_.stray = true;
  EXPECT_FALSE(Stop());
}

TEST_F(PageWindow, AFreePageThatIsLeftOutIsNoStep) {
  Key();
  now_.key = false;
  now_.list = true;
  EXPECT_FALSE(Reboots());
}

TEST_F(PageWindow, AListThatIsGivenUpHasFailed) {
  Key();
  now_.key = false;
  now_.may_fail = true;
  EXPECT_TRUE(Reboots());
  EXPECT_TRUE(Stop());
}

TEST_F(PageWindow, AListThatIsGivenUpForNothingIsNoStep) {
  Key();
  now_.key = false;
  EXPECT_FALSE(Reboots());
}

TEST_F(PageWindow, AKeyAfterTheFirstLookIsNoStep) {
  Key();
  now_.more_keys = true;
  EXPECT_TRUE(Reboots());
  now_.more_keys = false;
  now_.kind = PageSight::kUsed;
  EXPECT_TRUE(Reboots());
  now_.key = false;
  EXPECT_TRUE(Reboots());
  now_.more_keys = true;
  EXPECT_FALSE(Reboots());
}

TEST_F(PageWindow, AFreePageGetsNoKeyBeforeTheRebootCall) {
  now_.key = true;
  EXPECT_FALSE(Other());
}

TEST_F(PageWindow, AListThatStaysAfterTheRebootCallIsNoStep) {
  List();
  now_.listed = now_.list = false;
  EXPECT_FALSE(Back());
}

TEST_F(PageWindow, AListedPageThatIsNotFreeInTheNextKernelIsNoStep) {
  List();
  EXPECT_TRUE(Stop());
  now_.kind = PageSight::kElsewhere;
  EXPECT_FALSE(Boot());
}

TEST_F(PageWindow, AListedPageOnlyWaitsIfSomethingFails) {
  List();
  EXPECT_TRUE(Stop());
  now_.kind = PageSight::kElsewhere;
  now_.held = now_.may_fail = true;
  EXPECT_TRUE(Boot());
  now_.may_fail = false;
  EXPECT_TRUE(Rest());
  // Whoever asks for anything has it looked at.
  now_.kind = PageSight::kFree;
  now_.held = false;
  EXPECT_TRUE(Rest());
}

TEST_F(PageWindow, WhatWaitsForNothingIsNoStep) {
  List();
  EXPECT_TRUE(Stop());
  now_.kind = PageSight::kElsewhere;
  now_.held = true;
  EXPECT_FALSE(Boot());
}

TEST_F(PageWindow, APageOfAFileIsRetrieved) {
  Record();
  now_.kind = PageSight::kUsed;
  now_.held = false;
  EXPECT_TRUE(Rest());
}

TEST_F(PageWindow, APageOfAFileThatNobodyAsksForIsFreeInTheEnd) {
  Record();
  now_.kind = PageSight::kFree;
  now_.held = false;
  EXPECT_TRUE(Rest());
}

TEST_F(PageWindow, APageOfAFileThatIsFreeAtOnceIsNoStep) {
  now_.kind = PageSight::kUsed;
  EXPECT_TRUE(Other());
  now_.key = now_.recorded = true;
  EXPECT_TRUE(Stop());
  now_.kind = PageSight::kFree;
  EXPECT_FALSE(Boot());
}

TEST_F(PageWindow, APageThatLeavesAPreservedFileIsNoStep) {
  now_.kind = PageSight::kUsed;
  now_.key = true;
  EXPECT_TRUE(Other());
  EXPECT_TRUE(Rest());
  now_.kind = PageSight::kFree;
  EXPECT_FALSE(Other());
}

TEST_F(PageWindow, WhatIsRefusedStaysWhereItIs) {
  Key();
  now_.kind = PageSight::kElsewhere;
  now_.held = true;
  now_.refused = Sight::kRefused;
  EXPECT_TRUE(Boot(/*damage=*/true));
  EXPECT_TRUE(Rest());
  now_.kind = PageSight::kFree;
  now_.held = false;
  now_.refused = Sight::kNotRefused;
  EXPECT_FALSE(Rest());
}

TEST_F(PageWindow, ASurplusPageDoesNotComeByThePool) {
  now_.kind = PageSight::kElsewhere;
  EXPECT_TRUE(Rest());
  now_.kind = PageSight::kUsed;
  EXPECT_TRUE(Rest());
  now_.kind = PageSight::kElsewhere;
  EXPECT_TRUE(Rest());
}

}  // namespace
}  // namespace handover::model
