// SPDX-License-Identifier: BSD-3-Clause
#include "model/accounting.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace handover::model {
namespace {

using Kind = PoolEvent::Kind;

Pool Make(int64_t nr0, int64_t free0, int64_t nr1, int64_t free1) {
  Pool pool;
  pool.page_size = 16 << 10;
  pool.nodes = 2;
  pool.nr = {nr0, nr1};
  pool.free = {free0, free1};
  return pool;
}

PoolEvent Event(Kind kind, int node, int64_t count = 0) {
  PoolEvent event;
  event.kind = kind;
  event.node = node;
  event.count = count;
  return event;
}

PoolEvent Bound(PoolEvent event, int bind) {
  event.bind = bind;
  return event;
}

PoolEvent Reserved(PoolEvent event) {
  event.reserved = true;
  return event;
}

PoolEvent Short(PoolEvent event) {
  event.short_of_memory.fill(true);
  return event;
}

bool Can(const Pool& before, const std::vector<PoolEvent>& events,
         const Pool& after) {
  std::string why;
  bool can = Explains(before, events, after, &why);
  EXPECT_EQ(can, why.empty() || can) << why;
  return can;
}

TEST(AccountingTest, TakeFromThePool) {
  Pool before = Make(2, 2, 2, 2);
  EXPECT_TRUE(Can(before, {Event(Kind::kTake, 1)}, Make(2, 2, 2, 1)));
  // Seen on node 1, taken off node 0's list.
  EXPECT_FALSE(Can(before, {Event(Kind::kTake, 1)}, Make(2, 1, 2, 2)));
  // A fresh page though one was free.
  EXPECT_FALSE(Can(before, {Event(Kind::kTake, 1)}, Make(2, 2, 3, 2)));
}

TEST(AccountingTest, ReservationsKeepOthersOut) {
  Pool before = Make(1, 1, 0, 0);
  before.resv = 1;
  Pool after = Make(1, 0, 0, 0);
  EXPECT_TRUE(Can(before, {Reserved(Event(Kind::kTake, 0))}, after));
  after.resv = 1;
  EXPECT_FALSE(Can(before, {Event(Kind::kTake, 0)}, after));
  EXPECT_TRUE(Can(before, {Event(Kind::kTakeFails, -1)}, before));
  EXPECT_FALSE(Can(before, {Reserved(Event(Kind::kTakeFails, -1))}, before));
}

TEST(AccountingTest, SurplusUpToTheLimit) {
  Pool before = Make(1, 0, 0, 0);
  before.overcommit = 1;
  Pool after = Make(1, 0, 1, 0);
  after.overcommit = 1;
  after.surplus[1] = 1;
  EXPECT_TRUE(Can(before, {Event(Kind::kTake, 1)}, after));
  // Not counted as surplus.
  Pool wrong = after;
  wrong.surplus[1] = 0;
  EXPECT_FALSE(Can(before, {Event(Kind::kTake, 1)}, wrong));
  // No second one, and no failure of the first while there is memory.
  EXPECT_TRUE(Can(after, {Event(Kind::kTakeFails, -1)}, after));
  EXPECT_FALSE(Can(before, {Event(Kind::kTakeFails, -1)}, before));
  EXPECT_TRUE(Can(before, {Short(Event(Kind::kTakeFails, -1))}, before));
}

TEST(AccountingTest, FreedSurplusLeavesThePool) {
  Pool before = Make(2, 0, 0, 0);
  before.surplus[0] = 1;
  EXPECT_TRUE(Can(before, {Event(Kind::kFree, 0), Event(Kind::kFree, 0)},
                  Make(1, 1, 0, 0)));
  EXPECT_FALSE(Can(before, {Event(Kind::kFree, 0)}, Make(2, 1, 0, 0)));
}

TEST(AccountingTest, ReservingGathersSurplusAnywhere) {
  Pool before = Make(1, 1, 0, 0);
  before.overcommit = 2;
  for (int n : {0, 1}) {
    Pool after = before;
    after.resv = 2;
    ++after.nr[static_cast<size_t>(n)];
    ++after.free[static_cast<size_t>(n)];
    ++after.surplus[static_cast<size_t>(n)];
    EXPECT_TRUE(Can(before, {Event(Kind::kReserve, -1, 2)}, after)) << n;
    // And back again.
    EXPECT_TRUE(Can(after, {Event(Kind::kUnreserve, -1, 2)}, before)) << n;
  }
  EXPECT_TRUE(Can(before, {Event(Kind::kReserveFails, -1, 4)}, before));
  EXPECT_FALSE(Can(before, {Event(Kind::kReserveFails, -1, 3)}, before));
}

TEST(AccountingTest, ReservingLooksAtTheNodesOfThePolicy) {
  Pool before = Make(1, 1, 1, 1);
  EXPECT_TRUE(
      Can(before, {Bound(Event(Kind::kReserveFails, -1, 2), 0)}, before));
  EXPECT_FALSE(
      Can(before, {Bound(Event(Kind::kReserveFails, -1, 1), 0)}, before));
}

TEST(AccountingTest, ManyWaysToReturnSurplus) {
  // Which node's surplus goes decides what a page that is freed later does.
  Pool before = Make(2, 1, 2, 1);
  before.surplus = {1, 1};
  before.resv = 1;
  Pool after = Make(1, 0, 1, 1);
  after.nr = {1, 1};
  after.free = {0, 1};
  after.surplus = {0, 0};
  EXPECT_TRUE(Can(
      before, {Event(Kind::kUnreserve, -1, 1), Event(Kind::kFree, 1)}, after));
  after.surplus = {1, 0};
  EXPECT_FALSE(Can(
      before, {Event(Kind::kUnreserve, -1, 1), Event(Kind::kFree, 1)}, after));
}

TEST(AccountingTest, Resizing) {
  Pool before = Make(2, 1, 2, 2);
  EXPECT_TRUE(Can(before, {Event(Kind::kSetNr, -1, 6)}, Make(3, 2, 3, 3)));
  EXPECT_TRUE(Can(before, {Event(Kind::kSetNr, -1, 3)}, Make(2, 1, 1, 1)));
  EXPECT_FALSE(Can(before, {Event(Kind::kSetNr, -1, 6)}, Make(3, 2, 2, 2)));
  EXPECT_TRUE(
      Can(before, {Short(Event(Kind::kSetNr, -1, 6))}, Make(3, 2, 2, 2)));
  // A used page becomes surplus.
  Pool after = Make(1, 0, 0, 0);
  after.surplus[0] = 1;
  EXPECT_TRUE(Can(before, {Event(Kind::kSetNr, -1, 0)}, after));
  EXPECT_TRUE(Can(after, {Event(Kind::kSetNr, -1, 1)}, Make(1, 0, 0, 0)));
  // One node only.
  EXPECT_TRUE(
      Can(before, {Bound(Event(Kind::kSetNr, -1, 1), 1)}, Make(2, 1, 1, 1)));
  EXPECT_FALSE(
      Can(before, {Bound(Event(Kind::kSetNr, -1, 1), 1)}, Make(1, 0, 2, 2)));
  // Reserved pages stay.
  Pool reserved = Make(2, 2, 0, 0);
  reserved.resv = 2;
  Pool kept = reserved;
  kept.surplus[0] = 2;
  EXPECT_TRUE(Can(reserved, {Event(Kind::kSetNr, -1, 0)}, kept));
}

// Pages that are taken while it gets memory for others are surplus pages.
TEST(AccountingTest, TakenWhileResizing) {
  Pool before = Make(0, 0, 0, 0);
  before.overcommit = 1;
  Pool after = Make(2, 1, 0, 0);
  after.surplus[0] = 1;
  after.overcommit = 1;
  for (Kind kind : {Kind::kTake, Kind::kReserve}) {
    PoolEvent taken = Event(kind, kind == Kind::kTake ? 0 : -1);
    taken.count = 1;
    if (kind == Kind::kReserve) {
      after.free[0] = 2;
      after.resv = 1;
    }
    EXPECT_FALSE(Can(before, {Event(Kind::kSetNr, -1, 1), taken}, after));
    taken.exact = false;
    EXPECT_TRUE(Can(before, {Event(Kind::kSetNr, -1, 1), taken}, after));
    Pool more = after;
    more.surplus[0] = 2;
    more.nr[0] = 3;
    EXPECT_FALSE(Can(before, {Event(Kind::kSetNr, -1, 1), taken}, more));
  }
}

TEST(AccountingTest, Migration) {
  PoolEvent move = Event(Kind::kMigrate, 0);
  move.to = 1;
  Pool before = Make(1, 0, 1, 1);
  EXPECT_TRUE(Can(before, {move}, Make(1, 1, 1, 0)));  // a page of the pool
  EXPECT_TRUE(Can(before, {move}, Make(0, 0, 2, 1)));  // a fresh one
  EXPECT_FALSE(Can(before, {move}, Make(1, 0, 2, 1)));
}

}  // namespace
}  // namespace handover::model
