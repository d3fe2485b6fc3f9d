// SPDX-License-Identifier: BSD-3-Clause
//
// What a kernel's messages say that no system call tells.
#ifndef HANDOVER_MODEL_KERNEL_LOG_H_
#define HANDOVER_MODEL_KERNEL_LOG_H_

#include <string_view>
#include <vector>

#include "model/observation.h"

namespace handover::model {

// Reads one message. Sets `shortage` if boot could not get all huge pages;
// appends what HugeTLB says of memory that nobody can claim, of pools that were
// sized around what was handed over, and of free pages that it hands over.
void ReadKernelMessage(std::string_view line, bool* shortage,
                       std::vector<Reserved>* reported,
                       std::vector<SizedPool>* sized,
                       std::vector<Reserved>* handing);

// True for a message that a kernel has only when something is wrong with it.
bool IsKernelTrouble(std::string_view line);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_KERNEL_LOG_H_
