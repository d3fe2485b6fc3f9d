// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_CRASH_H_
#define SIM_MACHINE_CRASH_H_

namespace sim {

// From now on, a wild access or a division by zero of simulated code is
// reported as the oops that it is ("discipline") and ends the history, instead
// of the program. Code outside of RunOnActor() and RunBoot() still dies as
// usual. Does nothing when called again.
void CatchCrashes();

}  // namespace sim

#endif  // SIM_MACHINE_CRASH_H_
