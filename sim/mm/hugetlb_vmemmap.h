// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLB_VMEMMAP_H_
#define SIM_MM_HUGETLB_VMEMMAP_H_

// HVO: the struct pages of a huge page beyond those of one page of the memory
// map are given back, mm/hugetlb_vmemmap.c. Other than in the kernel that frees
// no memory here, where the memory map lies outside of it. Nobody may write to
// such a struct page, as it is mapped read-only there; here each gets a pattern
// that is looked at when it comes back, and by VmemmapVerify().

#include <sim/kernel_api.h>

#include <cstdint>
#include <string>

namespace sim {

void VmemmapReset();
// The value of hugetlb_free_vmemmap=, or of vm.hugetlb_optimize_vmemmap.
void VmemmapParam(const std::string& value);

// Struct pages that stay: those of a page of the memory map. On a small machine
// it is scaled as the huge pages are.
uint64_t VmemmapReserve();

// Follows hugetlb_vmemmap_optimize_folio(). Does nothing if it is switched off
// or if the size is too small for it.
void VmemmapOptimizeFolio(const struct hstate* h, struct folio* folio);
// The same for each of a list.
void VmemmapOptimizeFolios(const struct hstate* h, struct list_head* folios);
// Follows hugetlb_vmemmap_restore_folio(): 0 or -ENOMEM.
int VmemmapRestoreFolio(const struct hstate* h, struct folio* folio);

// Reports folios with a struct page that was written to though it was given
// back. Looks at those only that the memory map writes at all (memmap.h).
void VmemmapVerify();

}  // namespace sim

#endif  // SIM_MM_HUGETLB_VMEMMAP_H_
