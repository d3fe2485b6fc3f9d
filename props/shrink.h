// SPDX-License-Identifier: BSD-3-Clause
//
// Making a failing history small enough to be understood.
#ifndef HANDOVER_PROPS_SHRINK_H_
#define HANDOVER_PROPS_SHRINK_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "model/history.h"

namespace handover::props {

// One way to make a history simpler. Edits are cheap to make and to keep; the
// history they lead to is built when it is asked for.
struct Edit {
  enum class Kind : uint8_t {
    kRemove,       // commands [at, at + count)
    kCommand,      // command `at` becomes its `count`th simplification
    kCommandLine,  // of the first kernel: its `count`th simplification
    kNodes,        // `count` nodes
  };
  Kind kind = Kind::kRemove;
  int at = 0;
  int count = 0;
};

// All edits that apply, the boldest first. Each leads to another history that
// is simpler by a measure that never goes up again, so that applying edits
// comes to an end.
std::vector<Edit> Edits(const model::History& history);
model::History Apply(const model::History& history, const Edit& edit);

struct ShrinkResult {
  model::History history;
  int runs = 0;           // how often `fails` was asked
  bool finished = false;  // no single edit left keeps the failure
};

// Applies edits for as long as `fails` says true, which must hold for
// `history` itself, and asks at most `max_runs` times. The result depends on
// nothing but the arguments.
ShrinkResult Shrink(const model::History& history,
                    const std::function<bool(const model::History&)>& fails,
                    int max_runs = 4000);

}  // namespace handover::props

#endif  // HANDOVER_PROPS_SHRINK_H_
