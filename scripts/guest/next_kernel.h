// SPDX-License-Identifier: BSD-3-Clause
//
// Loading the next kernel of a chain.
#ifndef HANDOVER_SCRIPTS_GUEST_NEXT_KERNEL_H_
#define HANDOVER_SCRIPTS_GUEST_NEXT_KERNEL_H_

#include <cstdint>

#include "model/history.h"

namespace handover::guest {

// Files that each kernel's initramfs has, at the top.
inline constexpr char kHistoryFile[] = "/history";
inline constexpr char kKernelFile[] = "/kernel";
inline constexpr char kKernelWithoutFile[] = "/kernel-no-option";

// Words of the kernel's command line, by which the agent knows where it is.
inline constexpr char kGenerationWord[] = "handover_kernel=";
inline constexpr char kNextWord[] = "handover_next=";

// Loads what `load` asks for, as the `generation`-th kernel of the chain, whose
// agent goes on with the command at `next`. Returns 0 or -errno.
int LoadKernel(const model::Command& load, int generation, int64_t next);

}  // namespace handover::guest

#endif  // HANDOVER_SCRIPTS_GUEST_NEXT_KERNEL_H_
