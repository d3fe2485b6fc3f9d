// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_SYMBOLS_H_
#define SIM_MACHINE_SYMBOLS_H_

#include <string>

namespace sim {

// A place in the running program, as a kernel's oops names it:
// "hugetlb_luo_freeze+0x1c/0x2b0". The address in hexadecimal if no function is
// known to lie there. Depends on the build: no such text may enter a digest.
std::string PlaceOf(const void* code);

// "PLACE (0xADDRESS), called by PLACE, ...": where a signal interrupted the
// program, from within its handler; `context` is the handler's third argument.
// Ends at what started the actor.
std::string WhereInterrupted(const void* context);

// The instruction that a signal interrupted; null if this host cannot tell.
const void* InterruptedAt(const void* context);

}  // namespace sim

#endif  // SIM_MACHINE_SYMBOLS_H_
