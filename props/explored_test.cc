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

TEST(Explored, CounterexamplesHoldInTheKernelCode) {
  model::ExploreOptions options;
  options.bounds = model::ReadBounds("files=1 processes=1 pages=4").value();
  int histories = 0, other = 0;
  for (const Design& design : model::Designs()) {
    const model::Exploration result = model::Explore(design, options);
    for (size_t p = 0; p < model::kNrExplored; ++p) {
      if (!result.broken[p].found) continue;
      const absl::StatusOr<std::string> text =
          sim::PlaceSteps(model::CounterexampleHistory(
              design, p, options.bounds, result.broken[p]));
      ASSERT_TRUE(text.ok()) << text.status();
      // It says where the code is not what the design is.
      EXPECT_NE(text->find("the kernel code does not do this"),
                std::string::npos)
          << *text;
      const absl::StatusOr<model::History> history = model::ParseHistory(*text);
      ASSERT_TRUE(history.ok()) << history.status() << "\n" << *text;
      const sim::HistoryResult run = sim::RunHistory(*history);
      EXPECT_TRUE(run.ok()) << sim::Print(run.findings[0], *history) << "\n"
                            << *text;
      ++histories;
      other += run.stats.boots > 0;
    }
  }
  std::cout << histories << " histories, " << other << " with an update\n";
  EXPECT_GT(histories, 40);
  EXPECT_GT(other, 30);
}

}  // namespace
}  // namespace handover::props
