// SPDX-License-Identifier: BSD-3-Clause
//
// The properties of docs/properties.md on random histories, with RapidCheck.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "model/history.h"
#include "model/judge.h"
#include "model/observation.h"
#include "props/generator.h"
#include "props/random.h"
#include "props/rapidcheck.h"
#include "sim/exec/executor.h"
#include "sim/exec/replay.h"

namespace handover::props {
namespace {

using model::Command;
using model::History;
using model::Observation;
using model::Verb;

void AssertHolds(const History& history) {
  const sim::HistoryResult result = sim::RunHistory(history);
  if (result.ok()) return;
  FailWith(history, result.findings[0].property,
           sim::Print(result.findings[0], history));
}

TEST(Properties, HoldOnRandomHistories) {
  CheckProperty("every property holds", 400, [] { AssertHolds(*Histories()); });
}

TEST(Properties, HoldOnOtherMachines) {
  GeneratorOptions options;
  options.machine = GeneratorOptions::Machine::kX86;
  CheckProperty("every property holds on x86", 10,
                [&options] { AssertHolds(*Histories(options)); });
  options.machine = GeneratorOptions::Machine::kArm64;
  CheckProperty("every property holds on arm64", 10,
                [&options] { AssertHolds(*Histories(options)); });
}

TEST(Properties, SameHistorySameDigest) {
  CheckProperty("same history, same digest", 50, [] {
    const History history = *Histories();
    const sim::HistoryResult once = sim::RunHistory(history);
    const sim::HistoryResult again = sim::RunHistory(history);
    if (once.digest != again.digest || once.commands != again.commands)
      FailWith(history, "determinism", "the second run differs");
    sim::RunOptions other;
    other.seed = 1;
    if (once.digest == sim::RunHistory(history, other).digest)
      FailWith(history, "determinism", "the seed is not in the digest");
  });
}

// What docs/huge-pages.md names comes up by chance, and not once in a blue
// moon.
TEST(Properties, RandomHistoriesReachAllOfIt) {
  constexpr int kHistories = 2000;
  sim::RunOptions options;
  options.judge = options.invariants = options.teardown = false;
  sim::RunStats stats;
  for (uint64_t seed = 1; seed <= kHistories; ++seed)
    stats.Add(sim::RunHistory(Generate(seed), options).stats);
  for (int i = 0; i < sim::kReaches; ++i)
    EXPECT_GT(stats.reached[static_cast<size_t>(i)], 0)
        << sim::ReachName(static_cast<sim::Reach>(i));
}

// A random history that damages the tables of each reboot.
History Hostile(uint64_t seed) {
  History history = Generate(seed, {GeneratorOptions::Machine::kSmall, 0});
  Random random(seed);
  for (size_t i = 0; i < history.commands.size(); ++i) {
    if (history.commands[i].verb != Verb::kReboot) continue;
    const int64_t corruptions = random.Between(1, 4);
    for (int64_t n = 0; n < corruptions; ++n) {
      Command c;
      c.actor = model::Actor::kSim;
      c.verb = Verb::kCorrupt;
      c.target = static_cast<model::Target>(random.Below(model::kTargets));
      c.delta = random.Percent(50) ? random.Between(-4, 4)
                                   : static_cast<int64_t>(random.Next());
      c.nth = random.Below(3);
      c.resum = random.Percent(70);
      // Nobody knows that it is wrong.
      if (c.target == model::Target::kErrorAddress && random.Percent(70)) {
        c.delta = random.Between(1, 2048) * 4096;
        c.nth = random.Percent(50) ? 127 : c.nth;
        c.resum = true;
      }
      history.commands.insert(
          history.commands.begin() + static_cast<std::ptrdiff_t>(i), c);
      ++i;
    }
  }
  return history;
}

// Whatever a table holds, reading it never brings the kernel down, and what
// is not HugeTLB's goes on working. What exactly is refused is judged, too.
TEST(Properties, HostileTablesDoNoHarm) {
  CheckProperty("hostile tables", 200,
                [] { AssertHolds(*HistoriesBy(&Hostile)); });
}

// A failure is of use only with the history that shows it.
TEST(Failures, AreSavedAtTheirSmallest) {
  // Stands for a defect: nothing may be mapped, and two files are worse.
  auto property = [] {
    const History history = *Histories();
    int maps = 0, files = 0;
    for (const Command& c : history.commands) {
      maps += c.verb == Verb::kMap;
      files += c.verb == Verb::kMemfd;
    }
    if (files > 2) FailWith(history, "chain", "three files");
    if (maps > 0) FailWith(history, "refusal", "mapped");
  };
  const std::string name = "a test of failures";
  const std::string file =
      HANDOVER_BINARY_DIR "/failures/a-test-of-failures.min.history";
  ::testing::TestPartResultArray found;
  {
    ::testing::ScopedFakeTestPartResultReporter reporter(&found);
    CheckProperty(name, 200, property);
  }
  ASSERT_EQ(found.size(), 1);
  const std::string message = found.GetTestPartResult(0).message();
  for (const char* part :
       {"a test of failures: broke ", "  shrunk from ",
        "\nreplay it: ", "failures/a-test-of-failures.min.history"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  absl::StatusOr<History> saved = model::ParseHistory(text.str());
  ASSERT_TRUE(saved.ok()) << saved.status();
  // As small as can be, and of the property that broke first.
  const bool chain = message.find("broke chain") != std::string::npos;
  EXPECT_EQ(saved->commands.size(), chain ? 3u : 1u) << text.str();
  // A failure that is no more is no more.
  CheckProperty(name, 1, [] {});
  EXPECT_FALSE(std::filesystem::exists(file));
}

// Changes a part of what was seen, as a defect anywhere might.
void Mutate(Random* random, Observation* seen) {
  model::Snapshot& after = seen->after;
  auto off_by_one = [random](auto* number) {
    *number = static_cast<std::remove_reference_t<decltype(*number)>>(
        *number + (random->Percent(50) ? 1 : -1));
  };
  switch (random->Below(14)) {
    case 0:
      seen->outcome.result = -random->Below(134);
      break;
    case 1:
      seen->outcome.kind = static_cast<model::Outcome::Kind>(random->Below(5));
      break;
    case 2:
      seen->outcome.value = random->Next();
      break;
    case 3:
      off_by_one(&after.pool[0].node[0].nr);
      break;
    case 4:
      off_by_one(&after.pool[static_cast<size_t>(random->Below(3))].resv);
      break;
    case 5:
      off_by_one(&after.pool[1].node[1].free);
      break;
    case 6:
      if (!after.files.empty()) off_by_one(&after.files.back().size);
      break;
    case 7:
      if (!after.files.empty()) after.files.pop_back();
      break;
    case 8:
      if (!after.pages.empty()) off_by_one(&after.pages[0].frame);
      break;
    case 9:
      if (!after.files.empty() && after.files[0].pages_end > 0)
        --after.files[0].pages_end;
      break;
    case 10:
      after.quarantined.push_back({16 << 10, 0, random->Between(-1, 3)});
      break;
    case 11:
      if (!after.sessions.empty()) after.sessions.pop_back();
      break;
    case 12:
      for (model::Cell& cell : seen->cells) cell.value ^= 1;
      break;
    default:
      seen->finished.push_back({random->Below(40), seen->outcome});
      break;
  }
}

// The judge gets nonsense, now and then: it may find fault with it or not, but
// it goes on.
TEST(Properties, TheJudgeSurvivesAnything) {
  int found = 0;
  CheckProperty("mutated observations", 60, [&found] {
    const History history = *Histories({GeneratorOptions::Machine::kSmall, 0});
    Random random(*rc::gen::arbitrary<uint64_t>());
    sim::Executor executor(history);
    model::Judge judge(history);
    std::vector<model::Cell> watched;
    executor.set_watched(&watched);
    judge.Boot(executor.Boot());
    for (const Command& command : history.commands) {
      judge.Watch(&watched);
      Observation seen = executor.Run(command);
      if (executor.dead()) break;
      if (random.Percent(20)) Mutate(&random, &seen);
      found += !judge.Step(command, seen).empty();
    }
  });
  EXPECT_GT(found, 60);
}

}  // namespace
}  // namespace handover::props
