// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_BOOT_INTERNAL_H_
#define SIM_LIVEUPDATE_BOOT_INTERNAL_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "sim/mm/boot.h"

namespace sim {

// All that a kernel is told by the one before: what x86 passes as struct
// kho_data. An fdt of 0: there was none.
struct Handover {
  uint64_t fdt = 0;
  uint64_t fdt_size = 0;
  uint64_t scratch = 0;
  uint64_t scratch_size = 0;
};

// Boots a kernel, from setup_arch() to the last initcall. `tree_frames`:
// frames of the incoming radix tree, which nobody reads after
// kho_memory_init() and which are then overwritten.
bool BootKernel(const KernelConfig& config, const Handover& handover,
                const std::vector<uint64_t>& tree_frames);

void NotifyBootObserver(std::string_view stage);

}  // namespace sim

#endif  // SIM_LIVEUPDATE_BOOT_INTERNAL_H_
