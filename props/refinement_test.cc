// SPDX-License-Identifier: BSD-3-Clause
//
// The kernel code does what its design allows: each step of random histories is
// a step of the explorer's machine, or none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/design.h"
#include "model/history.h"
#include "props/generator.h"
#include "props/random.h"
#include "sim/exec/refine.h"

namespace handover::props {
namespace {

using model::History;

// Two small files, which two programs fill while an agent preserves them, calls
// it off, reboots, and something fails: more of it than histories of all kinds
// have.
class Dense {
 public:
  explicit Dense(uint64_t seed) : random_(seed) {}

  History Make() {
    Line("history 1");
    Line("geometry small nodes=2");
    Line("boot hugepagesz=16K hugepages=12");
    for (int f = 0; f < 2; ++f) Line("p0 memfd f", f, " 16K");
    MapAll();
    for (int kernel = 0; kernel < 3; ++kernel) Kernel();
    return model::ParseHistory(text_).value();
  }

 private:
  template <typename... Words>
  void Line(const Words&... words) {
    absl::StrAppend(&text_, words..., "\n");
  }
  void MapAll() {
    for (int p = 0; p < 2; ++p)
      for (int f = 0; f < 2; ++f)
        Line("p", p, " map f", f, " m", f, " 0 5 noreserve");
  }
  std::string Touch(int process) {
    const int64_t file = random_.Below(2), at = random_.Below(5);
    switch (random_.Weighted({6, 2, 1, 1, 1})) {
      case 0:
        return absl::StrCat("p", process, " write m", file, " ", at, " 1");
      case 1:
        return absl::StrCat("p", process, " fallocate f", file, " ", at, " 1");
      case 2:
        return absl::StrCat("p", process, " punch f", file, " ", at, " ",
                            random_.Between(1, 2));
      case 3:
        return absl::StrCat("p", process, " pin f", file, " ", at);
      default:
        return absl::StrCat("p", process, " read m", file, " ", at);
    }
  }
  // With others at the same time, or with a call that fails, or not.
  void Agent(const std::string& command, int64_t steps, int64_t calls) {
    const int during = random_.Weighted({2, 2, 3});
    for (int p = 0; p < during; ++p)
      Line("sim during ", random_.Between(1, steps), " ", Touch(p));
    if (during > 0 && random_.Percent(40))
      Line("sim interleave ", random_.Between(1, 1000));
    if (random_.Percent(20)) Line("sim fail ", random_.Between(1, calls));
    Line("agent ", command);
  }
  void Kernel() {
    Line("agent open");
    const bool together = random_.Percent(50);
    Line("agent session s0");
    if (!together) Line("agent session s1");
    for (int64_t n = random_.Between(1, 3); n > 0; --n) Line(Touch(0));
    for (int round = 0; round < 2; ++round) {
      for (int f = 0; f < 2; ++f) {
        if (random_.Percent(15)) continue;
        Agent(absl::StrCat("preserve s", together ? 0 : f, " ", f, " f", f), 40,
              20);
        for (int64_t n = random_.Between(0, 2); n > 0; --n)
          Line(Touch(random_.Percent(50)));
      }
      if (random_.Percent(70)) break;
      const int64_t s = together ? 0 : random_.Below(2);
      Agent(absl::StrCat("drop s", s), 20, 5);
      Line("agent session s", s);
    }
    Line("loader load hugepagesz=16K hugepages=12");
    if (random_.Percent(15))
      Line("sim corrupt ",
           random_.Pick<const char*>({"file.csum", "run.frame", "block.nr"}),
           " 1 nth=", random_.Below(2));
    Agent("reboot", 60, 30);
    if (random_.Percent(50)) Agent("reboot", 60, 30);
    if (random_.Percent(20)) Line("agent reboot");
    Line("agent open");
    for (int s = 0; s < 2; ++s) Line("agent take s", s);
    for (int f = 0; f < 2; ++f) {
      if (random_.Percent(10)) continue;
      Agent(absl::StrCat("retrieve s", together ? 0 : f, " ", f, " f", f), 20,
            20);
      if (random_.Percent(50))
        Line("agent retrieve s", together ? 0 : f, " ", f, " f", f);
    }
    MapAll();
    for (int64_t n = random_.Between(0, 2); n > 0; --n) Line(Touch(0));
    for (int s = 0; s < 2; ++s) {
      if (random_.Percent(10)) continue;  // the next reboot is refused
      Line("agent finish s", s);
      Line("agent drop s", s);
    }
    // What did not come is there anew.
    for (int f = 0; f < 2; ++f) Line("p0 memfd f", f, " 16K");
    MapAll();
  }

  Random random_;
  std::string text_;
};

// Small pools, whose free pages are handed over: what an administrator and two
// programs do to them during the reboot call, and what fails in it.
class DensePools {
 public:
  explicit DensePools(uint64_t seed) : random_(seed) {}

  History Make() {
    sizes_ = random_.Percent(40) ? 2 : 1;
    pages_ = random_.Between(2, 6);
    boot_ = absl::StrCat("hugepagesz=16K hugepages=", pages_);
    if (sizes_ == 2)
      absl::StrAppend(&boot_,
                      " hugepagesz=64K hugepages=", random_.Between(1, 2));
    Line("history 1");
    Line("geometry small nodes=", random_.Between(1, 2));
    Line("boot ", boot_);
    for (int kernel = 0; kernel < 3; ++kernel) Kernel();
    return model::ParseHistory(text_).value();
  }

 private:
  template <typename... Words>
  void Line(const Words&... words) {
    absl::StrAppend(&text_, words..., "\n");
  }
  std::string Touch(int process) {
    const int64_t file = random_.Below(2), at = random_.Below(4);
    switch (random_.Weighted({6, 3, 1, 1})) {
      case 0:
        return absl::StrCat("p", process, " write m", file, " ", at, " 1");
      case 1:
        return absl::StrCat("p", process, " punch f", file, " ", at, " ",
                            random_.Between(1, 3));
      case 2:
        return absl::StrCat("p", process, " truncate f", file, " ", at);
      default:
        return absl::StrCat("p", process, " fallocate f", file, " ", at, " 1");
    }
  }
  std::string Resize() {
    if (sizes_ == 2 && random_.Percent(30))
      return absl::StrCat("admin demote 64K ", random_.Between(1, 2));
    if (random_.Percent(10))
      return absl::StrCat("admin overcommit 16K ", random_.Below(3));
    if (random_.Percent(5)) return "admin poison-free 16K at=4096";
    if (random_.Percent(5))
      return absl::StrCat("admin preserve-free 16K ",
                          random_.Pick<const char*>({"on", "off"}));
    return absl::StrCat("admin nr 16K ", random_.Between(0, pages_ + 1));
  }
  void Agent(const std::string& command, int64_t first, int64_t last,
             int64_t calls) {
    for (int p = 0; p < 2; ++p)
      if (random_.Percent(60))
        Line("sim during ", random_.Between(first, last), " ", Touch(p));
    if (random_.Percent(60))
      Line("sim during ", random_.Between(first, last), " ", Resize());
    if (random_.Percent(30)) Line("sim interleave ", random_.Between(1, 1000));
    if (random_.Percent(15)) Line("sim fail ", random_.Between(1, calls));
    Line("agent ", command);
  }
  void Kernel() {
    for (int f = 0; f < 2; ++f) {
      Line("p0 memfd f", f, " 16K");
      for (int p = 0; p < 2; ++p)
        Line("p", p, " map f", f, " m", f, " 0 4 noreserve");
    }
    Line("admin preserve-free 16K on");
    if (sizes_ == 2 && random_.Percent(70)) Line("admin preserve-free 64K on");
    for (int64_t n = random_.Between(0, 3); n > 0; --n) Line(Touch(0));
    if (random_.Percent(30)) Line(Resize());
    Line("agent open");
    Line("agent session s0");
    if (random_.Percent(50)) Agent("preserve s0 0 f0", 1, 40, 20);
    if (random_.Percent(20)) {
      Agent("drop s0", 1, 20, 5);
      Line("agent session s0");
    }
    Line("loader load ", boot_);
    if (random_.Percent(10))
      Line("sim corrupt ",
           random_.Pick<const char*>({"file.csum", "run.frame", "root.csum"}),
           " 1");
    for (int64_t n = random_.Between(1, 2); n > 0; --n)
      Agent("reboot", random_.Percent(70) ? 25 : 1, 75, 25);
    if (random_.Percent(40)) Line("agent reboot");
    if (random_.Percent(30)) Line(Resize());
    Line("agent open");
    Line("agent take s0");
    if (random_.Percent(60)) Agent("retrieve s0 0 f0", 1, 20, 20);
    Line("agent finish s0");
    Line("agent drop s0");
  }

  Random random_;
  int sizes_ = 1;
  int64_t pages_ = 0;
  std::string boot_;
  std::string text_;
};

struct Sum {
  int64_t histories = 0, windows = 0, steps = 0, changes = 0, handovers = 0;
  size_t states = 0;
  sim::RefinementResult::Pages pages;
};

// Empty, or what the kernel did that the design does not, with the history.
std::string Check(const History& history, sim::Shadows* shadows, uint64_t seed,
                  Sum* sum) {
  const sim::RefinementResult result =
      sim::CheckRefinement(history, shadows, seed);
  ++sum->histories;
  sum->windows += result.windows;
  sum->steps += result.steps;
  sum->changes += result.changes;
  sum->handovers += result.handovers;
  sum->states = std::max(sum->states, result.states);
  sum->pages.windows += result.pages.windows;
  sum->pages.changes += result.pages.changes;
  sum->pages.listed += result.pages.listed;
  sum->pages.left += result.pages.left;
  sum->pages.other += result.pages.other;
  sum->pages.held += result.pages.held;
  if (result.wrong.empty()) return "";
  return absl::StrCat("seed ", seed, ": ", result.wrong, model::Print(history));
}

const model::Design& Ours() { return model::Designs()[0]; }
const model::Design& FreePools() { return *model::FindDesign("free-pools"); }

int Histories(int usual) {
  const char* more = std::getenv("HANDOVER_REFINEMENT");
  return more == nullptr ? usual : std::atoi(more);
}

void Say(const char* which, const Sum& sum, const sim::Shadows& shadows) {
  std::cout << which << ": " << sum.histories << " histories, " << sum.windows
            << " windows, " << sum.steps << " steps looked at, " << sum.changes
            << " changes, " << sum.handovers << " handovers; "
            << shadows.one.states() + shadows.two.states()
            << " states of the design's machine, up to " << sum.states
            << " at a time\n"
            << which << ", pages: " << sum.pages.windows << " windows, "
            << sum.pages.changes << " changes, " << sum.pages.listed
            << " listed, " << sum.pages.other
            << " of them not free any more by then, " << sum.pages.left
            << " left out, " << sum.pages.held << " waited; "
            << shadows.page.states() << " states\n";
}

TEST(Refinement, OfTheDesignWhereItIsDense) {
  sim::Shadows shadows(Ours(), FreePools());
  Sum sum;
  const int n = Histories(500);
  for (int seed = 1; seed <= n; ++seed) {
    const std::string wrong =
        Check(Dense(static_cast<uint64_t>(seed)).Make(), &shadows,
              static_cast<uint64_t>(seed), &sum);
    ASSERT_EQ(wrong, "");
  }
  Say("dense", sum, shadows);
  EXPECT_GT(sum.changes, 10 * n);
  EXPECT_GT(sum.handovers, n);
  EXPECT_GT(sum.pages.held, n / 4);
}

TEST(Refinement, OfFreePoolsWhereItIsDense) {
  sim::Shadows shadows(Ours(), FreePools());
  Sum sum;
  const int n = Histories(500);
  for (int seed = 1; seed <= n; ++seed) {
    const std::string wrong =
        Check(DensePools(static_cast<uint64_t>(seed)).Make(), &shadows,
              static_cast<uint64_t>(seed), &sum);
    ASSERT_EQ(wrong, "");
  }
  Say("dense pools", sum, shadows);
  EXPECT_GT(sum.pages.changes, 5 * n);
  EXPECT_GT(sum.pages.listed, n / 2);
  EXPECT_GT(sum.pages.left, n / 20);
  EXPECT_GT(sum.pages.other, n / 40);
  EXPECT_GT(sum.pages.held, n / 20);
}

// Held against designs that it does not follow the code is seen to do what they
// do not. (What a fault into a frozen file gets is not looked at.)
TEST(Refinement, OfOtherDesignsFails) {
  for (const char* name :
       {"frozen-early", "walk-at-freeze", "unnoticed", "rfc-2025"}) {
    sim::Shadows shadows(*model::FindDesign(name), FreePools());
    Sum sum;
    std::string wrong;
    for (uint64_t seed = 1; seed <= 100 && wrong.empty(); ++seed)
      wrong = Check(Dense(seed).Make(), &shadows, seed, &sum);
    EXPECT_NE(wrong, "") << name << " allows all that kernel/new does";
  }
}

// The same of how free pages are handed over.
TEST(Refinement, OfOtherPoolsFails) {
  for (const char* name :
       {"late-pages", "free-unchecked", "free-checked-early", "free-at-once",
        "list-stays", "snapshot-early", "snapshot-tracked", "pool-frozen",
        "snapshot-live", "joins-unlocked"}) {
    sim::Shadows shadows(Ours(), *model::FindDesign(name));
    Sum sum;
    std::string wrong;
    for (uint64_t seed = 1; seed <= 200 && wrong.empty(); ++seed)
      wrong = Check(DensePools(seed).Make(), &shadows, seed, &sum);
    EXPECT_NE(wrong, "") << name << " allows all that kernel/new does";
  }
}

TEST(Refinement, OfTheDesignInHistoriesOfAllKinds) {
  sim::Shadows shadows(Ours(), FreePools());
  Sum sum;
  const int n = Histories(500);
  for (int seed = 1; seed <= n; ++seed) {
    const std::string wrong =
        Check(Generate(static_cast<uint64_t>(seed)), &shadows,
              static_cast<uint64_t>(seed), &sum);
    ASSERT_EQ(wrong, "");
  }
  Say("all kinds", sum, shadows);
  EXPECT_GT(sum.changes, n);
  EXPECT_GT(sum.handovers, n / 10);
  EXPECT_GT(sum.pages.changes, n);
  EXPECT_GT(sum.pages.listed, n / 20);
  EXPECT_GT(sum.pages.held, n / 20);
}

// Those of all branches of kernel/new, with each bug that was ever found.
TEST(Refinement, OfTheDesignInSavedHistories) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(
           HANDOVER_SOURCE_DIR "/props/histories"))
    if (entry.path().extension() == ".history") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  sim::Shadows shadows(Ours(), FreePools());
  Sum sum;
  for (const auto& path : files) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    const absl::StatusOr<History> history = model::ParseHistory(text.str());
    ASSERT_TRUE(history.ok()) << path << ": " << history.status();
    EXPECT_EQ(Check(*history, &shadows, 1, &sum), "") << path;
  }
  Say("saved", sum, shadows);
  EXPECT_EQ(static_cast<size_t>(sum.histories), files.size());
  EXPECT_GT(sum.changes, sum.histories);
  EXPECT_GT(sum.handovers, sum.histories / 4);
  EXPECT_GT(sum.pages.changes, sum.histories);
  EXPECT_GT(sum.pages.listed, sum.histories / 10);
}

}  // namespace
}  // namespace handover::props
