// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_KEXEC_H_
#define SIM_LIVEUPDATE_KEXEC_H_

// From one kernel to the next. Called by the executor and tests, outside of
// any actor.

#include <functional>
#include <string_view>

#include "sim/mm/boot.h"

namespace sim {

// Power on: no kernel ran before, memory holds whatever it holds. False if the
// boot ended in a BUG() or panic, which is reported.
bool Boot(const KernelConfig& config);

// After StopKernel(): the old kernel is gone, all that it leaves are its
// preserved pages, its device tree and the list of its scratch regions. Boots
// the next one. Result as of Boot().
bool Kexec(const KernelConfig& next);

// Power is cut and comes back: memory holds junk, actors are gone.
bool PowerCut(const KernelConfig& next);

// Stages at which devices may write and checkers may look, in this order:
// "kexec" (old kernel gone, memory overwritten, nothing booted), "memmap" (the
// map of page frames is there), "buddy", "hugetlb" (pools are filled), "up".
// Null: nobody is asked.
void SetBootObserver(std::function<void(std::string_view stage)> observer);

// The static data of kernel/new as it was when the program started. The linker
// collects it in the section "knew_data"; without such a section there is
// nothing to do.
void ResetKernelNewData();

}  // namespace sim

#endif  // SIM_LIVEUPDATE_KEXEC_H_
