// SPDX-License-Identifier: BSD-3-Clause
#include "props/shrink.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "props/generator.h"
#include "props/rapidcheck.h"

namespace handover::props {
namespace {

using model::Command;
using model::History;
using model::Verb;

int Count(const History& history, Verb verb) {
  return static_cast<int>(
      std::count_if(history.commands.begin(), history.commands.end(),
                    [verb](const Command& c) { return c.verb == verb; }));
}

TEST(Shrink, FindsTheCommandsThatMatter) {
  // "Fails" with a preserve somewhere before a reboot.
  auto fails = [](const History& history) {
    bool preserved = false;
    for (const Command& c : history.commands) {
      preserved |= c.verb == Verb::kPreserve;
      if (preserved && c.verb == Verb::kReboot) return true;
    }
    return false;
  };
  int shrunk = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    History history = Generate(seed);
    if (!fails(history)) continue;
    ++shrunk;
    ShrinkResult result = Shrink(history, fails);
    EXPECT_TRUE(result.finished);
    ASSERT_EQ(result.history.commands.size(), 2u) << model::Print(history);
    EXPECT_EQ(result.history.commands[0].verb, Verb::kPreserve);
    EXPECT_EQ(result.history.commands[1].verb, Verb::kReboot);
    EXPECT_EQ(result.history.nodes, 1);
    EXPECT_EQ(result.history.command_line, "");
  }
  EXPECT_GT(shrunk, 20);
}

TEST(Shrink, SimplifiesNumbersFlagsAndCommandLines) {
  absl::StatusOr<History> history = model::ParseHistory(R"(history 1
geometry small nodes=3
boot hugepagesz=16K hugepages=0:3,1:9 hugepagesz=64K hugepages=7
p2 memfd f0 16K sealable
p2 map f0 m1 8 13 ro private noreserve
p2 seal f0 shrink,grow
sim during 300 p2 write m1 9 abcdef at=4096
loader load no-size=256K no-option hugepages=9 kho=off
sim corrupt run.frame -77 nth=3 resum
)");
  ASSERT_TRUE(history.ok()) << history.status();
  auto fails = [](const History& h) {
    return h.commands.size() == 6 && h.commands[1].length >= 5 &&
           h.commands[3].step >= 20 &&
           h.command_line.find("64K") != std::string::npos;
  };
  ShrinkResult result = Shrink(*history, fails);
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(model::Print(result.history), R"(history 1
geometry small nodes=1
boot hugepagesz=64K
p0 memfd f0 16K
p0 map f0 m1 0 5
p0 seal f0 shrink
sim during 20 p0 write m1 0 1
loader load
sim corrupt run.frame 1
)");
}

TEST(Shrink, GivesUpInTime) {
  History history = Generate(1);
  int asked = 0;
  ShrinkResult result = Shrink(
      history,
      [&asked](const History&) {
        ++asked;
        return false;
      },
      50);
  EXPECT_EQ(asked, 50);
  EXPECT_EQ(result.runs, 50);
  EXPECT_FALSE(result.finished);
  EXPECT_TRUE(result.history == history);
}

TEST(Shrink, EveryEditGivesAnotherHistoryThatPrints) {
  CheckProperty("edits", 30, [] {
    History history = Generate(*rc::gen::arbitrary<uint64_t>());
    for (const Edit& edit : Edits(history)) {
      History simpler = Apply(history, edit);
      RC_ASSERT(!(simpler == history));
      absl::StatusOr<History> read = model::ParseHistory(model::Print(simpler));
      RC_ASSERT(read.ok());
      RC_ASSERT(*read == simpler);
    }
  });
}

TEST(Shrink, KeepsWhatFailsWhateverThePropertyIs) {
  CheckProperty("shrinking keeps the failure", 30, [] {
    History history = Generate(*rc::gen::arbitrary<uint64_t>());
    int writes = Count(history, Verb::kWrite);
    auto fails = [writes](const History& h) {
      return Count(h, Verb::kWrite) >= (writes + 1) / 2;
    };
    ShrinkResult result = Shrink(history, fails, 1000);
    RC_ASSERT(fails(result.history));
    RC_ASSERT(static_cast<int>(result.history.commands.size()) ==
              (writes + 1) / 2);
  });
}

}  // namespace
}  // namespace handover::props
