// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_PIN_H_
#define SIM_MM_PIN_H_

#include <sim/kernel_api.h>

namespace sim {

// What a pin of a folio of one page adds to its reference count
// (GUP_PIN_COUNTING_BIAS); larger folios have a count of pins.
inline constexpr int kPinBias = 1 << 10;

// mm/gup.c:try_grab_folio() with FOLL_PIN.
int PinFolio(struct folio* folio, int refs);

}  // namespace sim

#endif  // SIM_MM_PIN_H_
