// SPDX-License-Identifier: BSD-3-Clause
//
// What breaks other designs does not break the kernel code: each counterexample
// of the explorer, as a history. scripts/designs shows that those of some
// designs break kernel code that is made like these.
#include <gtest/gtest.h>

#include <iostream>
#include <string>

#include "model/design.h"
#include "model/explorer.h"
#include "model/explorer_history.h"
#include "model/history.h"
#include "sim/exec/place.h"
#include "sim/exec/replay.h"

namespace handover::props {
namespace {

using model::Design;

struct Count {
  int histories = 0;
  int with_an_update = 0;
};

// `only`: of this design; or of all. `most`: states that are looked at where
// something is broken.
void Hold(const std::string& bounds, Count* count, const std::string& only = "",
          int64_t most = model::ExploreOptions().max_states_broken) {
  model::ExploreOptions options;
  options.bounds = model::ReadBounds(bounds).value();
  options.max_states_broken = most;
  for (const Design& design : model::Designs()) {
    if (!only.empty() && design.name != only) continue;
    const model::Exploration result = model::Explore(design, options);
    for (size_t p = 0; p < model::kNrExplored; ++p) {
      if (!result.broken[p].found) continue;
      const absl::StatusOr<std::string> text =
          sim::PlaceSteps(model::CounterexampleHistory(
              design, p, options.bounds, result.broken[p]));
      ASSERT_TRUE(text.ok())
          << text.status() << "\n"
          << model::CounterexampleHistory(design, p, options.bounds,
                                          result.broken[p]);
      // It says where the code is not what the design is.
      EXPECT_NE(text->find("the kernel code does not do this"),
                std::string::npos)
          << *text;
      const absl::StatusOr<model::History> history = model::ParseHistory(*text);
      ASSERT_TRUE(history.ok()) << history.status() << "\n" << *text;
      const sim::HistoryResult run = sim::RunHistory(*history);
      EXPECT_TRUE(run.ok()) << sim::Print(run.findings[0], *history) << "\n"
                            << *text;
      ++count->histories;
      count->with_an_update += run.stats.boots > 0;
    }
  }
}

TEST(Explored, CounterexamplesHoldInTheKernelCode) {
  Count count;
  Hold("small", &count);
  std::cout << count.histories << " histories, " << count.with_an_update
            << " with an update\n";
  EXPECT_GT(count.histories, 80);
  EXPECT_GT(count.with_an_update, 30);
}

// Of a file that grows after it has been preserved: the kernel code refuses.
TEST(Explored, AlsoWhenFilesAreResizedTwice) {
  Count count;
  Hold("small truncations=2", &count, "size-early");
  EXPECT_EQ(count.histories, 2);
  EXPECT_EQ(count.with_an_update, 2);
  Count rfc;
  Hold("small truncations=2", &rfc, "rfc-2025");
  EXPECT_GT(rfc.histories, 6);
}

// Those that end a kernel in the middle of something are shorter. What takes
// more states to find is found above, without that.
TEST(Explored, AlsoWhenKernelsAreCutShort) {
  Count count;
  Hold("small cuts=1", &count, "", 400000);
  std::cout << count.histories << " histories, " << count.with_an_update
            << " with an update\n";
  EXPECT_GT(count.histories, 80);
}

}  // namespace
}  // namespace handover::props
