// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_LOCKS_H_
#define SIM_MACHINE_LOCKS_H_

// What the scheduler tells the lock checker; the locks themselves are those of
// sim/include/linux.

namespace sim {

// A new kernel: no lock is held, no order is known.
void LocksReset();
// The actor (-1: boot) has nothing to do any more: reports locks it holds.
void CheckNoLocksHeld(int actor);
// The current actor is in an RCU read section: it may not sleep.
bool InRcuReadSection();

}  // namespace sim

#endif  // SIM_MACHINE_LOCKS_H_
