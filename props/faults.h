// SPDX-License-Identifier: BSD-3-Clause
//
// Everything that can fail, failing: a history once more for each call that may
// fail, for each two of them, and for each step at which its kernel may stop.
// Where these are is found by counting, not listed: a new call is among them
// from the day it is made.
#ifndef HANDOVER_PROPS_FAULTS_H_
#define HANDOVER_PROPS_FAULTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/history.h"
#include "sim/exec/replay.h"

namespace handover::props {

struct NamedHistory {
  std::string name;
  model::History history;
};

// The histories that `list` names, a line each, of the folder `histories`. They
// go through all of kernel/new: docs/faults.md says how that is seen.
std::vector<NamedHistory> ReadReferenceHistories(const std::string& list,
                                                 const std::string& folder);

// Every `shards`th run, from the `shard`th on.
struct Shard {
  uint64_t shard = 0;
  uint64_t shards = 1;
};
// GTEST_SHARD_INDEX and GTEST_TOTAL_SHARDS, which GoogleTest and most CI
// systems know. False: they make no sense.
bool ShardFromEnvironment(Shard* shard);

struct SweepResult {
  int64_t points = 0;   // places where something was made to fail, this shard's
  int64_t in_boot = 0;  // of these, in the next kernel before it was up
  int64_t gave_up = 0;  // the kernel panicked, as Linux does there
  int64_t warned =
      0;  // it warned, or hung, as Linux does there: the history ended
  int64_t unwindowed = 0;  // pairs that were left out, being too far apart
  // The first ones that broke a property, and how.
  std::vector<std::pair<model::History, sim::Finding>> failures;

  void Add(const SweepResult& other);
};

// Each call.
SweepResult FailEach(const model::History& history, const Shard& shard);
// Each two calls of which the second is made no more than `window` calls after
// the first. What calls there are after the first is found by failing it.
SweepResult FailPairs(const model::History& history, int64_t window,
                      const Shard& shard);
// The kernel stops at each step of each command, and the next one is entered.
SweepResult CutEach(const model::History& history, const Shard& shard);

// `history` with a command in front of the one at `at`.
model::History WithBefore(const model::History& history, size_t at,
                          model::Command command);

}  // namespace handover::props

#endif  // HANDOVER_PROPS_FAULTS_H_
