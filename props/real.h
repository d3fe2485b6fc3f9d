// SPDX-License-Identifier: BSD-3-Clause
//
// Histories for real kernels: what scripts/kernel-history can run.
#ifndef HANDOVER_PROPS_REAL_H_
#define HANDOVER_PROPS_REAL_H_

#include <cstdint>

#include "model/history.h"

namespace handover::props {

// The same history for a machine of the x86 geometry with two nodes, without
// what no real machine can do: commands of the simulator, and devices. The
// largest page size of another geometry becomes 1G, or 2M unless `gigantic`;
// all others become 2M, which no kernel lacks. Where a command line then asks
// for one size twice, what it asked for first holds.
model::History ForRealMachine(const model::History& history, bool gigantic);

// A random one. The same seed gives the same history until the generator is
// changed.
model::History GenerateReal(uint64_t seed, bool gigantic);

// True if it has pages of 1 GiB, for which a machine has to be large.
bool IsGigantic(const model::History& history);

}  // namespace handover::props

#endif  // HANDOVER_PROPS_REAL_H_
