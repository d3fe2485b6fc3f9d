// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_OFFLINE_H_
#define SIM_MM_OFFLINE_H_

#include <cstdint>

namespace sim {

// "offline", then "online", written to the state of the memory block that the
// frame lies in, /sys/devices/system/memory/memory*/state. 0 or -errno.
int MemoryBlockOffline(uint64_t pfn);

}  // namespace sim

#endif  // SIM_MM_OFFLINE_H_
