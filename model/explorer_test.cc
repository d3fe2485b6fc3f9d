// SPDX-License-Identifier: BSD-3-Clause
#include "model/explorer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "model/design.h"
#include "model/explorer_report.h"
#include "model/explorer_state.h"

namespace handover::model {
namespace {

using Names = std::set<std::string>;

Names Broken(const Exploration& result) {
  Names names;
  for (size_t p = 0; p < kNrExplored; ++p)
    if (result.broken[p].found) names.insert(std::string(ExploredName(p)));
  return names;
}

Exploration ExploreIn(const Design& design, const std::string& bounds) {
  ExploreOptions options;
  options.bounds = ReadBounds(bounds).value();
  return Explore(design, options);
}

// Small bounds in which every flaw shows, and what each breaks there.
constexpr char kSmall[] = "files=1 processes=1 pages=4";

TEST(Explorer, EachFlawShows) {
  const std::map<std::string, Names> expected = {
      {"late-pages", {}},
      {"free-pools", {}},
      {"walk-at-freeze", {}},
      {"snapshot-tracked", {}},
      {"frozen-early", {"discipline"}},
      {"faults-fail", {"refusal"}},
      {"one-pass", {"atomic-import"}},
      {"refused-freed", {"quarantine"}},
      {"refused-leaked", {"quarantine", "no-leak"}},
      {"reboots-anyway", {"quarantine"}},
      {"unchecked-twice", {"no-duplicate"}},
      {"twice-at-import", {"refusal"}},
      {"count-total", {"placement"}},
  };
  // Of the others, what they have to break at least.
  const std::map<std::string, std::string> at_least = {
      {"rfc-2025", "identity"},           {"never-frozen", "no-lost-write"},
      {"flag-on-inode", "no-lost-write"}, {"unnoticed", "no-lost-write"},
      {"unguarded", "identity"},          {"no-retry", "no-leak"},
      {"no-unwind", "exact-rollback"},    {"count-none", "boot-budget"},
      {"count-late", "boot-budget"},      {"snapshot-early", "no-duplicate"},
  };
  for (const Design& design : Designs()) {
    const std::string name(design.name);
    const Exploration result = ExploreIn(design, kSmall);
    EXPECT_TRUE(result.complete) << name;
    if (expected.count(name) != 0) {
      EXPECT_EQ(Broken(result), expected.at(name)) << name;
    } else {
      ASSERT_EQ(at_least.count(name), 1u) << name << ": what does it break?";
      EXPECT_EQ(Broken(result).count(at_least.at(name)), 1u) << name;
    }
  }
}

// Two files, two programs, three pages, an abort and two updates.
TEST(Explorer, OurDesignHolds) {
  const Exploration result = ExploreIn(Designs()[0], "");
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(Broken(result), Names());
  EXPECT_GT(result.states, 100000);
  EXPECT_GT(result.transitions, result.states);
  EXPECT_GT(result.depth, 50);
}

TEST(Explorer, TheSameEveryTime) {
  const Exploration a = ExploreIn(*FindDesign("rfc-2025"), kSmall);
  const Exploration b = ExploreIn(*FindDesign("rfc-2025"), kSmall);
  EXPECT_EQ(a.states, b.states);
  EXPECT_EQ(a.transitions, b.transitions);
  for (size_t p = 0; p < kNrExplored; ++p)
    EXPECT_EQ(CounterexampleText(Designs()[0], p, a.broken[p]),
              CounterexampleText(Designs()[0], p, b.broken[p]));
}

// Without names: what can happen in a state can happen in each that is the
// same, and leads to the same.
TEST(Explorer, RenamedStatesBehaveAlike) {
  const Bounds bounds = ReadBounds("pages=3").value();
  for (const char* name : {"late-pages", "rfc-2025", "snapshot-early"}) {
    const XMachine machine(*FindDesign(name), bounds);
    XState state = machine.Initial();
    uint64_t random = 1;
    for (int step = 0; step < 3000; ++step) {
      std::vector<XNext> next, of_other;
      machine.Successors(state, &next);
      machine.Successors(machine.Renamed(state, step % 3 != 0, step % 3 != 1),
                         &of_other);
      if (next.empty()) {
        state = machine.Initial();
        continue;
      }
      auto outcomes = [&machine](const std::vector<XNext>& all) {
        std::multiset<std::string> set;
        for (const XNext& n : all) {
          const XState s = machine.Canonical(n.state);
          set.insert(std::to_string(n.broken) +
                     std::string(reinterpret_cast<const char*>(&s), sizeof(s)));
        }
        return std::set<std::string>(set.begin(), set.end());
      };
      ASSERT_EQ(outcomes(next), outcomes(of_other)) << name << " " << step;
      random = random * 6364136223846793005u + 1442695040888963407u;
      const XNext& chosen = next[(random >> 33) % next.size()];
      // Once something broke, which of several comes first may matter.
      state = chosen.broken == 0 ? machine.Canonical(chosen.state)
                                 : machine.Initial();
    }
  }
}

// The steps are those of one run: each follows from the one before.
TEST(Explorer, CounterexamplesAreTold) {
  const Exploration result = ExploreIn(*FindDesign("unnoticed"), kSmall);
  size_t lost = 0;
  while (ExploredName(lost) != "no-lost-write") ++lost;
  const Counterexample& found = result.broken[lost];
  ASSERT_TRUE(found.found);
  const std::string text =
      CounterexampleText(*FindDesign("unnoticed"), lost, found);
  for (const char* part :
       {"unnoticed breaks no-lost-write", "preserves f0", "touches the hole",
        "writes to f0", "the CPUs stop", "kernel 2", "asks for f0"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  const std::string dot =
      CounterexampleDot(*FindDesign("unnoticed"), lost, found);
  EXPECT_EQ(dot.compare(0, 7, "digraph"), 0);
  EXPECT_EQ(dot.find("->"), std::string::npos);
}

TEST(Explorer, BoundsAreRead) {
  const Bounds bounds = ReadBounds("files=1,pages=4 aborts=0").value();
  EXPECT_EQ(bounds.files, 1);
  EXPECT_EQ(bounds.pages, 4);
  EXPECT_EQ(bounds.aborts, 0);
  EXPECT_EQ(bounds.updates, 2);
  EXPECT_EQ(WriteBounds(ReadBounds(WriteBounds(bounds)).value()),
            WriteBounds(bounds));
  for (const char* wrong : {"files=3", "pages", "pages=", "cats=1", "files=-1"})
    EXPECT_FALSE(ReadBounds(wrong).ok()) << wrong;
}

// `handover explore --document=docs/atomicity.md` mends it.
TEST(Explorer, TheDocumentIsInStep) {
  std::ifstream file(HANDOVER_SOURCE_DIR "/docs/atomicity.md");
  std::ostringstream text;
  text << file.rdbuf();
  const auto updated = UpdateAtomicity(text.str(), AtomicityReport());
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(*updated, text.str());
  EXPECT_FALSE(UpdateAtomicity("no such lines", "").ok());
}

}  // namespace
}  // namespace handover::model
