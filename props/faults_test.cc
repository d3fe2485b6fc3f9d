// SPDX-License-Identifier: BSD-3-Clause
//
// The reference histories with each call failing that can, one at a time, and
// some of what takes longer: handover sweep does all of it.
#include "props/faults.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "props/damage.h"
#include "props/rapidcheck.h"

namespace handover::props {
namespace {

std::vector<NamedHistory> References() {
  return ReadReferenceHistories(HANDOVER_SOURCE_DIR "/props/reference.txt",
                                HANDOVER_SOURCE_DIR "/props/histories");
}

class Reference : public ::testing::TestWithParam<size_t> {
 protected:
  NamedHistory named_ = References()[GetParam()];

  void Hold(const char* what, const SweepResult& result) const {
    std::cout << named_.name << ": " << result.points << ' ' << what << ", "
              << result.in_boot << " of them in boot, " << result.gave_up
              << " of them panics, " << result.warned
              << " of them warnings of Linux\n";
    for (const auto& [history, finding] : result.failures)
      ADD_FAILURE() << named_.name << ": " << sim::Print(finding, history)
                    << '\n'
                    << model::Print(history);
  }
};

TEST_P(Reference, EachCallFails) {
  ASSERT_FALSE(named_.history.commands.empty()) << named_.name;
  const SweepResult result = FailEach(named_.history, {});
  EXPECT_GT(result.points, 0);
  Hold("calls", result);
}

std::string TestName(const ::testing::TestParamInfo<size_t>& info) {
  std::string name = References()[info.param].name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Histories, Reference,
                         ::testing::Range(size_t{0}, References().size()),
                         TestName);

model::History Parse(const std::string& text) {
  absl::StatusOr<model::History> history = model::ParseHistory(text);
  EXPECT_TRUE(history.ok()) << history.status();
  return *std::move(history);
}

constexpr char kSmall[] =
    "history 1\n"
    "geometry small nodes=2\n"
    "boot hugepagesz=16K hugepages=8\n"
    "p0 memfd f0 16K\n"
    "p0 map f0 m0 0 6\n"
    "p0 write m0 1 a\n"
    "p0 write m0 4 b\n"
    "p0 memfd f1 16K\n"
    "p0 fallocate f1 0 2\n"
    "agent open\n"
    "agent session s0\n"
    "agent preserve s0 1 f0\n"
    "agent preserve s0 2 f1\n"
    "p0 write m0 2 c\n"
    "loader load hugepagesz=16K hugepages=8\n"
    "agent reboot\n"
    "agent open\n"
    "agent take s0\n"
    "agent retrieve s0 1 f0\n"
    "agent retrieve s0 2 f1\n"
    "agent finish s0\n";

TEST(Sweeps, PairsThatAreNear) {
  const SweepResult result = FailPairs(Parse(kSmall), 4, {});
  std::cout << result.points << " pairs\n";
  EXPECT_GT(result.points, 400);
  for (const auto& [history, finding] : result.failures)
    ADD_FAILURE() << sim::Print(finding, history) << '\n'
                  << model::Print(history);
}

TEST(Sweeps, CutsAtEachStep) {
  const SweepResult result = CutEach(Parse(kSmall), {});
  std::cout << result.points << " steps\n";
  EXPECT_GT(result.points, 400);
  for (const auto& [history, finding] : result.failures)
    ADD_FAILURE() << sim::Print(finding, history) << '\n'
                  << model::Print(history);
}

// The kernel before knows one node, and the next one two: it looks for pages of
// the largest size before it checks what it finds.
constexpr char kMoved[] =
    "history 1\n"
    "geometry small nodes=2\n"
    "boot numa=off hugepagesz=256K hugepages=6\n"
    "p0 memfd f0 256K\n"
    "p0 truncate f0 4\n"
    "p0 fallocate f0 0 2\n"
    "p0 memfd f1 256K\n"
    "p0 fallocate f1 0 1\n"
    "agent open\n"
    "agent session s0\n"
    "agent preserve s0 1 f0\n"
    "agent preserve s0 2 f1\n"
    "p0 fallocate f0 2 2\n"
    "loader load hugepagesz=256K hugepages=0:4,1:3\n"
    "agent reboot\n"
    "agent open\n"
    "agent take s0\n"
    "agent retrieve s0 1 f0\n"
    "agent retrieve s0 2 f1\n"
    "agent finish s0\n";

void DamageAll(const char* text) {
  const model::History history = Parse(text);
  const int64_t at = FirstUpdate(history);
  ASSERT_EQ(history.commands[static_cast<size_t>(at)].verb,
            model::Verb::kReboot);
  const Between between = LookBetween(history, static_cast<size_t>(at));
  EXPECT_EQ(between.table.files.size(), 2u);
  EXPECT_EQ(between.table.handles.size(), 2u);
  EXPECT_NE(between.scratch, 0u);
  const SweepResult result = DamageEach(history, StructuredDamage(between), {});
  std::cout << result.points << " cases of damage\n";
  EXPECT_GT(result.points, 1000);
  for (const auto& [damaged, finding] : result.failures)
    ADD_FAILURE() << sim::Print(finding, damaged) << '\n'
                  << model::Print(damaged);
}

TEST(Sweeps, DamageThatKnowsTheTable) { DamageAll(kSmall); }

TEST(Sweeps, DamageOverOtherNodes) { DamageAll(kMoved); }

// Retrieving each of the two files ends with an allocation that LUO warns of
// when it fails, as Linux does: an entry of a table that is far from index 0.
TEST(Sweeps, WarningsOfLinuxAreCountedApart) {
  const SweepResult result = FailEach(Parse(kSmall), {});
  std::cout << result.warned << " warnings of " << result.points << " points\n";
  EXPECT_GE(result.warned, 2);
  EXPECT_LT(result.warned, result.points / 10);
  for (const auto& [history, finding] : result.failures)
    ADD_FAILURE() << sim::Print(finding, history) << '\n'
                  << model::Print(history);
}

// Each point belongs to one shard.
TEST(Sweeps, ShardsAreAllOfIt) {
  const model::History history = Parse(kSmall);
  const int64_t all = FailEach(history, {}).points;
  int64_t sum = 0;
  for (uint64_t shard = 0; shard < 3; ++shard)
    sum += FailEach(history, {shard, 3}).points;
  EXPECT_EQ(sum, all);
}

}  // namespace
}  // namespace handover::props
