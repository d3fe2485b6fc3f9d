// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLB_H_
#define SIM_MM_HUGETLB_H_

// What the rooms of sim/ share of HugeTLB beyond the kernel's own headers.
//
// Left out of this HugeTLB throughout: userfaultfd, sharing of page tables.

#include <sim/kernel_api.h>

extern "C" {
// Serialises faults with truncation; one per shared mapping.
struct hugetlb_vma_lock {
  struct kref refs;
  struct rw_semaphore rw_sema;
  struct vm_area_struct* vma;
};

// --- mm/hugetlb.c, for the page allocator's range allocation and migration.
int isolate_or_dissolve_huge_folio(struct folio* folio, struct list_head* list);
int replace_free_hugepage_folios(unsigned long start_pfn,
                                 unsigned long end_pfn);
int dissolve_free_hugetlb_folio(struct folio* folio);
int dissolve_free_hugetlb_folios(unsigned long start_pfn,
                                 unsigned long end_pfn);
void wait_for_freed_hugetlb_folios(void);
void move_hugetlb_state(struct folio* old_folio, struct folio* new_folio,
                        int reason);
long region_count(struct resv_map* resv, long f, long t);
// --- for hugetlbfs.
void hugetlb_fix_reserve_counts(struct inode* inode);
void hugetlb_vma_lock_release(struct kref* ref);
}

namespace sim {

enum VmaResvFlags : unsigned long {
  kResvOwner = 1,     // HPAGE_RESV_OWNER: private, and made the reservation
  kResvUnmapped = 2,  // HPAGE_RESV_UNMAPPED
  kResvMask = 3,
};

// --- hugetlb.cc
inline unsigned long AvailableHugePages(const struct hstate* h) {
  return h->free_huge_pages - h->resv_huge_pages;
}
inline unsigned long PersistentHugePages(const struct hstate* h) {
  return h->nr_huge_pages - h->surplus_huge_pages;
}
void AccountNewHugetlbFolio(struct hstate* h, struct folio* folio);
void EnqueueHugetlbFolio(struct hstate* h, struct folio* folio);
struct folio* DequeueHugetlbFolioNodemask(struct hstate* h, gfp_t gfp, int nid,
                                          const nodemask_t* nodes);
struct folio* AllocFreshHugetlbFolio(struct hstate* h, gfp_t gfp, int nid,
                                     const nodemask_t* nodes,
                                     nodemask_t* noretry);
struct folio* AllocPoolHugeFolio(struct hstate* h, const nodemask_t* allowed,
                                 nodemask_t* noretry, int* next_node);
struct folio* RemovePoolHugetlbFolio(struct hstate* h,
                                     const nodemask_t* allowed, bool surplus);
void AddHugetlbFolio(struct hstate* h, struct folio* folio,
                     bool adjust_surplus);
void UpdateAndFreeHugetlbFolio(struct hstate* h, struct folio* folio);
void UpdateAndFreePagesBulk(struct hstate* h, struct list_head* list);
int NextNodeToAlloc(int* next_node, const nodemask_t* allowed);
int NextNodeToFree(struct hstate* h, const nodemask_t* allowed);

// --- hugetlb_alloc.cc
struct folio* AllocSurplusHugetlbFolio(struct hstate* h, gfp_t gfp, int nid,
                                       const nodemask_t* nodes);
long VmaNeedsReservation(struct hstate* h, struct vm_area_struct* vma,
                         unsigned long addr);
void VmaEndReservation(struct hstate* h, struct vm_area_struct* vma,
                       unsigned long addr);
long VmaAddReservation(struct hstate* h, struct vm_area_struct* vma,
                       unsigned long addr);
struct resv_map* VmaResvMap(struct vm_area_struct* vma);
struct hstate* HstateVma(struct vm_area_struct* vma);
pgoff_t VmaHugecacheOffset(struct hstate* h, struct vm_area_struct* vma,
                           unsigned long addr);

// --- hugetlb_subpool.cc
void SubpoolReset();
// With limits in pages, -1: none. nullptr: no memory, or it cannot be reserved.
struct hugepage_subpool* SubpoolNew(struct hstate* h, long most, long least);
void SubpoolPut(struct hugepage_subpool* spool);
// Of mounts that are gone: a page that is pinned or has a memory error keeps
// its subpool, and so does one that could not be allocated (see
// alloc_hugetlb_folio()).
void SubpoolForgetStuck();
long SubpoolGetPages(struct hugepage_subpool* spool, long delta);
long SubpoolPutPages(struct hugepage_subpool* spool, long delta);
// Gives `nr` back that got no global reservation (out_put_pages).
void SubpoolUnuse(struct hugepage_subpool* spool, long nr);

// --- hugetlb_boot.cc
// hugetlb_bootmem_set_nodes(), and hugetlb_bootmem_nodes.
nodemask_t HugetlbBootmemSetNodes();
// Gigantic pages that the command line asks for and that are not allocated at
// boot because of hugetlb_cma=: Linux leaves them in max_huge_pages until
// somebody sets it.
unsigned long HugetlbSkippedAtBoot(const struct hstate* h);
void HugetlbForgetSkipped(const struct hstate* h);

// --- hugetlb_resize.cc
// mm/hugetlb.c:__nr_hugepages_store_common(); nid -1 is the global file.
int SetMaxHugePages(struct hstate* h, unsigned long count, int nid);

// --- hugetlb_demote.cc
void HugetlbSetDemoteOrder(struct hstate* h);

// --- hugetlb_fault.cc
// __unmap_hugepage_range(); i_mmap_rwsem is held for writing.
void UnmapHugepageRange(struct vm_area_struct* vma, unsigned long start,
                        unsigned long end);

// --- hugetlb_reserve.cc: the lock of a vma, and its life.
bool VmaShareableLock(struct vm_area_struct* vma);
bool VmaPrivateLock(struct vm_area_struct* vma);
void HugetlbVmaLockRead(struct vm_area_struct* vma);
void HugetlbVmaUnlockRead(struct vm_area_struct* vma);
void HugetlbVmaLockWrite(struct vm_area_struct* vma);
void HugetlbVmaUnlockWrite(struct vm_area_struct* vma);
bool HugetlbVmaTrylockWrite(struct vm_area_struct* vma);
void HugetlbVmaUnlockWriteFree(struct vm_area_struct* vma);
void HugetlbVmaLockAlloc(struct vm_area_struct* vma);
void HugetlbVmaLockFree(struct vm_area_struct* vma);
void HugetlbVmOpClose(struct vm_area_struct* vma);

// A task's memory policy: MPOL_BIND to one node, or none (-1). Tasks are
// told apart by their actor's number; the CPUs all belong to the first node
// with memory.
void SetTaskBind(int actor, int nid);
int TaskBind(int actor);
const nodemask_t* PolicyMbindNodemask();
int NumaNodeId();

// True once this kernel's reserve count went wrong as upstream's does when an
// allocation fails at the wrong time (hugetlb_fix_reserve_counts(),
// restore_reserve_on_error(), memfd_alloc_folio(), free_huge_folio() of a
// surplus page): not the fault of the code under test.
bool HugetlbReserveIsOff();
void HugetlbReserveWentOff();

}  // namespace sim

#endif  // SIM_MM_HUGETLB_H_
