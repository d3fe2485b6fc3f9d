// SPDX-License-Identifier: BSD-3-Clause
//
// A counterexample as a history, for the kernel code to be tried with.
#ifndef HANDOVER_MODEL_EXPLORER_HISTORY_H_
#define HANDOVER_MODEL_EXPLORER_HISTORY_H_

#include <cstddef>
#include <string>

#include "model/design.h"
#include "model/explorer.h"

namespace handover::model {

// The numbers of `sim during`, `sim cut` and `sim fail` in it are shares, in
// thousandths, of the steps and the fallible calls that the next command makes:
// the explorer's machine does not know those. sim/exec/place.h puts numbers
// there.
//
// The steps of the counterexample stand there as comments, and so does what the
// kernel code does otherwise. Then comes what shows what became of it: the
// files are asked for, read, and finished.
std::string CounterexampleHistory(const Design& design, size_t property,
                                  const Bounds& bounds,
                                  const Counterexample& found);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_EXPLORER_HISTORY_H_
