// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_LOCKS_H_
#define SIM_MACHINE_LOCKS_H_

// What the scheduler tells the lock checker; the locks themselves are those of
// sim/include/linux.

#include <cstdint>

struct sim_lock;

namespace sim {

// A new kernel: no lock is held, no order is known.
void LocksReset();
// The actor (-1: boot) has nothing to do any more: reports locks it holds.
void CheckNoLocksHeld(int actor);
// `state` sums up what a spinlock guards, until the next kernel: if that is not
// the same when the lock is taken as when it was given back, then somebody did
// not take it. What actors find is compared with what actors left, and what
// boot finds with what boot left, which may do without the lock for some of it.
void GuardedBy(const struct sim_lock* lock, uint64_t (*state)());
// The current actor is in an RCU read section: it may not sleep.
bool InRcuReadSection();

}  // namespace sim

#endif  // SIM_MACHINE_LOCKS_H_
