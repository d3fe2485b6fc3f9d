// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_MAPPING_H_
#define SIM_MM_MAPPING_H_

// Address spaces, mappings and their page tables, for files of hugetlbfs and
// shmem. A mapping's page table has one entry for each page of the file's own
// size. All of it lies in the simulated kernel's memory, and dies with it.
//
// Left out: fork, anonymous mappings, mprotect, mremap, splitting and merging
// of mappings, swap.

#include <sim/kernel_api.h>

extern "C" {
struct mm_struct {
  struct rw_semaphore mmap_lock;
  spinlock_t page_table_lock;
  struct list_head mappings;
  unsigned long next_addr;  // addresses are never used twice
};

// --- For migration, whose caller holds the folio's lock.
// Follows try_to_migrate(): every entry that maps the folio becomes a
// migration entry and gives up its reference and its share of the mapcount. A
// huge page of a file whose i_mmap_rwsem is taken stays mapped; otherwise the
// lock is held until sim_remap_folio(), which has to follow in any case. It
// also stays mapped where somebody holds the mapping's vma_lock, such as a
// fault into another page of it that waits.
void sim_try_to_migrate(struct folio* folio);
// Follows remove_migration_ptes() from `old_folio` to `new_folio`, which may be
// the same one (migration failed). Without an earlier sim_try_to_migrate(),
// entries that map `old_folio` move over with their references.
void sim_remap_folio(struct folio* old_folio, struct folio* new_folio);

// Follows unmap_poisoned_folio() for a page of a file, whose lock the caller
// holds: false if somebody still maps it. Left out: the entries that are put in
// its place. A fault finds the page in the file, and ends in the same way.
bool sim_unmap_poisoned_folio(struct folio* folio);

// The store and the load of a user program: 8 bytes at `offset` of the
// mapping's `page`, in pages of the file's own size. 0 or kAccess....
long sim_user_store(struct vm_area_struct* vma, unsigned long page,
                    unsigned long offset, u64 value);
long sim_user_load(struct vm_area_struct* vma, unsigned long page,
                   unsigned long offset, u64* value);
}

namespace sim {

// What a user access ends with when it does not succeed.
inline constexpr long kAccessSigbus = -7;    // SIGBUS
inline constexpr long kAccessKilled = -9;    // fatal signal, or out of memory
inline constexpr long kAccessSigsegv = -11;  // SIGSEGV

struct Mapping {
  struct vm_area_struct vma;  // first
  struct list_head in_mm;
  struct list_head in_i_mmap;
  struct xarray ptes;      // page table: entries as values, by page
  unsigned order;          // of the file's pages
  unsigned long nr_pages;  // of that order
};

void MappingReset();

// --- For sim/user. Errors are -errno, as ERR_PTR() where a pointer returns.
inline constexpr unsigned kMapWrite = 1;      // PROT_WRITE, beside PROT_READ
inline constexpr unsigned kMapPrivate = 2;    // MAP_PRIVATE, else MAP_SHARED
inline constexpr unsigned kMapNoReserve = 4;  // MAP_NORESERVE

// mmap(2): `off` and `len` in pages of the file's own size. Takes a reference
// to the file of its own.
Mapping* Mmap(struct mm_struct* mm, struct file* file, unsigned long off,
              unsigned long len, unsigned flags);
int Munmap(Mapping* mapping);
inline long Load(Mapping* mapping, unsigned long page, unsigned long offset,
                 u64* value) {
  return sim_user_load(&mapping->vma, page, offset, value);
}
inline long Store(Mapping* mapping, unsigned long page, unsigned long offset,
                  u64 value) {
  return sim_user_store(&mapping->vma, page, offset, value);
}
// An address space; nullptr: no memory.
struct mm_struct* MmAlloc();
// exit_mmap() and mmdrop(): unmaps everything.
void MmExit(struct mm_struct* mm);

// How a fault ends, see hugetlb_fault.cc and shmem_fault.cc.
enum FaultResult : unsigned {
  kFaultDone = 0,
  kFaultOom = 1,
  kFaultSigbus = 2,
  kFaultHwpoison = 4,
};
// The user program touches an address. The page may be gone again when this
// returns kFaultDone.
unsigned HugetlbFault(struct vm_area_struct* vma, unsigned long address,
                      bool write);
unsigned ShmemFault(struct vm_area_struct* vma, unsigned long address,
                    bool write);

// The folio that a page of the mapping is backed by now, or nullptr.
struct folio* MappedFolio(Mapping* mapping, unsigned long page);

// --- Page table entries: a frame number above some bits.
inline constexpr unsigned long kPtePresent = 1;
inline constexpr unsigned long kPteWrite = 2;
inline constexpr unsigned long kPteMigration = 4;  // not present
inline constexpr unsigned long kPteAnon = 8;       // a private copy
inline constexpr unsigned kPtePfnShift = 8;

inline unsigned long MakePte(const struct folio* folio, unsigned long bits) {
  return folio_pfn(folio) << kPtePfnShift | bits;
}
inline struct folio* PteFolio(unsigned long pte) {
  return reinterpret_cast<struct folio*>(pfn_to_page(pte >> kPtePfnShift));
}

inline Mapping* MappingOf(struct vm_area_struct* vma) {
  return reinterpret_cast<Mapping*>(vma);
}
// The entry at an address, 0 if there is none. PteAlloc() makes room for it,
// and fails for lack of memory; PteSet() needs that room.
unsigned long PteGet(struct vm_area_struct* vma, unsigned long addr);
bool PteAlloc(struct vm_area_struct* vma, unsigned long addr);
void PteSet(struct vm_area_struct* vma, unsigned long addr, unsigned long pte);
// The next address in [*addr, end) whose entry is not 0.
bool PteNext(struct vm_area_struct* vma, unsigned long* addr,
             unsigned long end);
// folio_wait_locked(): holds no reference to the folio.
void WaitLocked(struct folio* folio);
// migration_entry_wait(): until the entry at the address is one no more.
void MigrationEntryWait(struct vm_area_struct* vma, unsigned long addr);

// A private copy: folio->mapping names its only vma then, with bit 0 set.
void AddAnonRmap(struct folio* folio, struct vm_area_struct* vma,
                 unsigned long addr);
inline void AddFileRmap(struct folio* folio) { atomic_inc(&folio->_mapcount); }
inline void RemoveRmap(struct folio* folio) {
  WARN_ON(folio_mapcount(folio) <= 0);
  atomic_dec(&folio->_mapcount);
}

// The vmas of a file that overlap its 4 KiB pages [start, end).
template <typename Fn>  // bool(vma): false ends the walk
void ForEachVma(struct address_space* mapping, pgoff_t start, pgoff_t end,
                Fn fn) {
  struct list_head* head = &mapping->i_mmap;
  for (struct list_head *at = head->next, *next; at != head; at = next) {
    next = at->next;
    auto* vma = &list_entry(at, Mapping, in_i_mmap)->vma;
    const pgoff_t pages = (vma->vm_end - vma->vm_start) >> PAGE_SHIFT;
    if (vma->vm_pgoff >= end || vma->vm_pgoff + pages <= start) continue;
    if (!fn(vma)) return;
  }
}

// Unmaps the file's 4 KiB pages [start, end) everywhere; private copies too if
// asked to. For shmem: unmap_mapping_pages().
void UnmapMappingPages(struct address_space* mapping, pgoff_t start,
                       pgoff_t end, bool even_cows);

// copy_user_large_folio(): frames that nobody wrote cost little.
void CopyUserFolio(struct folio* to, const struct folio* from);
// folio_zero_segment().
void ZeroSegment(struct folio* folio, size_t start, size_t end);

}  // namespace sim

#endif  // SIM_MM_MAPPING_H_
