// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_NEXT_KERNEL_H_
#define SIM_EXEC_NEXT_KERNEL_H_

// What the next kernel has made of what it was left with by one that stopped
// before its time.

#include <vector>

#include "sim/exec/executor.h"
#include "sim/machine/machine.h"

namespace sim {

// A kernel that `sim cut` stopped left a table that is complete in itself, or
// none, whichever step that was at; and the kernel that runs now has taken what
// is in the table, all of it and nothing else. Call right after the boot.
std::vector<Violation> CheckAfterCut(const model::Observation& seen);

}  // namespace sim

#endif  // SIM_EXEC_NEXT_KERNEL_H_
