// SPDX-License-Identifier: BSD-3-Clause
#include "props/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "props/rapidcheck.h"

namespace handover::props {
namespace {

using model::Command;
using model::History;
using model::Verb;

TEST(Generator, SameSeedSameHistory) {
  CheckProperty("same seed, same history", 200, [] {
    uint64_t seed = *rc::gen::arbitrary<uint64_t>();
    RC_ASSERT(Generate(seed) == Generate(seed));
  });
}

TEST(Generator, PrintsWhatIsReadAgain) {
  CheckProperty("print, then parse", 500, [] {
    History history = *Histories();
    std::string text = model::Print(history);
    absl::StatusOr<History> read = model::ParseHistory(text);
    RC_ASSERT(read.ok());
    RC_ASSERT(*read == history);
    RC_ASSERT(model::Print(*read) == text);
  });
}

TEST(Generator, HistoriesAreOfUsefulLength) {
  int64_t sum = 0;
  constexpr int kHistories = 2000;
  for (uint64_t seed = 0; seed < kHistories; ++seed) {
    History history = Generate(seed);
    EXPECT_GE(history.commands.size(), 30u) << "seed " << seed;
    EXPECT_LE(history.commands.size(), 100u) << "seed " << seed;
    sum += static_cast<int64_t>(history.commands.size());
  }
  EXPECT_GE(sum, 32 * kHistories);
}

TEST(Generator, ReachesEveryCommandAndEveryKindOfTrouble) {
  std::array<int, model::kVerbs> verbs{};
  std::set<model::Target> targets;
  std::set<int> nodes;
  std::set<model::Geometry> geometries;
  int chains = 0, no_option = 0, missing_size = 0, per_node = 0, off = 0;
  int no_numa = 0;
  constexpr int kHistories = 4000;
  for (uint64_t seed = 0; seed < kHistories; ++seed) {
    History history = Generate(seed);
    geometries.insert(history.geometry);
    nodes.insert(history.nodes);
    int reboots = 0;
    for (const Command& c : history.commands) {
      ++verbs[static_cast<size_t>(c.verb)];
      reboots += c.verb == Verb::kReboot;
      if (c.verb == Verb::kCorrupt) targets.insert(c.target);
      if (c.verb != Verb::kLoad) continue;
      no_option += c.no_option;
      missing_size += !c.missing_sizes.empty();
      per_node += c.command_line.find(':') != std::string::npos;
      off += c.command_line.find("kho=off") != std::string::npos ||
             c.command_line.find("liveupdate=off") != std::string::npos;
      no_numa += c.command_line.find("numa=off") != std::string::npos;
    }
    EXPECT_GE(reboots, 1) << "seed " << seed;
    chains += reboots >= 2;
  }
  for (int v = 0; v < model::kVerbs; ++v) {
    // After a cut the model knows nothing, so these have tests of their own.
    if (static_cast<Verb>(v) == Verb::kCut) continue;
    EXPECT_GT(verbs[static_cast<size_t>(v)], 0)
        << model::VerbName(static_cast<Verb>(v));
  }
  EXPECT_EQ(targets.size(), static_cast<size_t>(model::kTargets));
  EXPECT_EQ(geometries.size(), 3u);
  EXPECT_EQ(nodes.size(), 4u);
  EXPECT_GT(chains, kHistories / 4);
  for (int count : {no_option, missing_size, per_node, off, no_numa})
    EXPECT_GT(count, kHistories / 100);
}

TEST(Generator, KeepsToWhatIsAskedFor) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    GeneratorOptions options;
    options.machine = GeneratorOptions::Machine::kArm64;
    options.nodes = 3;
    History history = Generate(seed, options);
    EXPECT_EQ(history.geometry, model::Geometry::kArm64);
    EXPECT_EQ(history.nodes, 3);
  }
}

}  // namespace
}  // namespace handover::props
