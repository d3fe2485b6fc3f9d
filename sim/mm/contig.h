// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_CONTIG_H_
#define SIM_MM_CONTIG_H_

#include <sim/kernel_api.h>

#include <cstdint>

namespace sim {

// mm/page_isolation.c. The range is aligned to pageblocks, or to a smaller
// power of two within one.
int StartIsolatePageRange(uint64_t start, uint64_t end, bool cma = false);
void UndoIsolatePageRange(uint64_t start, uint64_t end);

// mm/page_alloc.c:alloc_contig_frozen_range(): takes [start, end) off the free
// lists, after everything in it was moved away. `cma`: for an area of which
// these pages are a part (ACR_FLAGS_CMA).
int AllocContigRange(uint64_t start, uint64_t end, gfp_t gfp, bool cma);

}  // namespace sim

#endif  // SIM_MM_CONTIG_H_
