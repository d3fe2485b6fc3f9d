// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_MEMORY_FAILURE_H_
#define SIM_MM_MEMORY_FAILURE_H_

#include <cstdint>

struct folio;

namespace sim {

void MemoryFailureReset();

// folio_clear_hugetlb_hwpoison(): the marks move to the base pages with errors.
void ClearHugetlbHwpoison(struct folio* folio);

// The huge page got its first error since what runs now began to run.
bool HasNewError(struct folio* folio);

// HardwareCorrupted, in base pages.
uint64_t PoisonedPages();

// Whether the frame is on the list of its huge page's base pages with errors,
// and how many of the `nr` frames from `pfn` on are on such a list.
bool HasMemoryError(uint64_t pfn);
// Whether it is on it, or the base page itself is marked.
bool KnowsError(uint64_t pfn);
uint64_t MemoryErrors(uint64_t pfn, uint64_t nr);

}  // namespace sim

#endif  // SIM_MM_MEMORY_FAILURE_H_
