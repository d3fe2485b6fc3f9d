// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLB_CMA_H_
#define SIM_MM_HUGETLB_CMA_H_

// hugetlb_cma= and hugetlb_cma_only=: an area on each node from which gigantic
// pages come. Follows mm/hugetlb_cma.c.

#include <sim/kernel_api.h>

namespace sim {

void HugetlbCmaReset();
// hugetlb_cma_total_size(), in bytes: of all areas, as asked for.
unsigned long HugetlbCmaTotalSize();
// hugetlb_cma_exclusive_alloc(): gigantic pages come from nowhere else.
bool HugetlbCmaExclusive();
void HugetlbCmaValidateParams();
// hugetlb_early_cma(): pages of this size are taken out of the areas at boot.
bool HugetlbEarlyCma(const struct hstate* h);
void* HugetlbCmaAllocBootmem(const struct hstate* h, int nid, bool node_exact);
struct folio* HugetlbCmaAllocFolio(unsigned order, gfp_t gfp, int nid,
                                   const nodemask_t* nodes);
void HugetlbCmaFreeFolio(struct folio* folio);

// How many base pages of areas their pools forgot that they have to go back
// there: what add_hugetlb_folio() clears is not set again.
uint64_t HugetlbCmaForgotten();
void HugetlbCmaForget(const struct folio* folio);

}  // namespace sim

#endif  // SIM_MM_HUGETLB_CMA_H_
