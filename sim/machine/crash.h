// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_CRASH_H_
#define SIM_MACHINE_CRASH_H_

namespace sim {

// From now on, a wild access or a division by zero of simulated code is
// reported as the oops that it is ("discipline") and ends the history, instead
// of the program. Code outside of RunOnActor() and RunBoot() still dies as
// usual. Does nothing when called again.
//
// The same goes for code that computes for seconds without passing a step: the
// kernel's watchdog would call it a soft lockup. What a history does depends on
// no clock for that: code that ends, ends thousands of times earlier.
void CatchCrashes();

// For tests of it: how many tenths of a second of the program's own time pass
// before a soft lockup is one; 0: the default.
void SetSoftLockupLimit(int ticks);

}  // namespace sim

#endif  // SIM_MACHINE_CRASH_H_
