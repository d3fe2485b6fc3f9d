// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_VMALLOC_H_
#define SIM_MM_VMALLOC_H_

#include <cstdint>

namespace sim {

// Areas that vmalloc() gave out and vfree() has not got back.
uint64_t VmallocAreas();

}  // namespace sim

#endif  // SIM_MM_VMALLOC_H_
