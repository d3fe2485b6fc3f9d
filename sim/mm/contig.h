// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_CONTIG_H_
#define SIM_MM_CONTIG_H_

#include <sim/kernel_api.h>

#include <cstdint>

namespace sim {

// mm/page_isolation.c. The range is aligned to pageblocks, or to a smaller
// power of two within one.
int StartIsolatePageRange(uint64_t start, uint64_t end);
void UndoIsolatePageRange(uint64_t start, uint64_t end);

}  // namespace sim

#endif  // SIM_MM_CONTIG_H_
