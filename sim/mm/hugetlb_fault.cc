// SPDX-License-Identifier: BSD-3-Clause
//
// Faults on mappings of hugetlbfs files, and taking their pages away again, as
// mm/hugetlb.c does. Left out: userfaultfd, fork (so a private page has one
// mapping, and no copy is ever made of an anonymous page), unsharing.

#include <iterator>

#include "sim/mm/filemap.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/mapping.h"

namespace sim {
namespace {

struct Fault {
  struct vm_area_struct* vma;
  struct hstate* h;
  unsigned long addr;
  pgoff_t idx;  // in huge pages
  bool write;
  unsigned long orig_pte;
};

bool Shared(const Fault& fault) { return fault.vma->vm_flags & VM_MAYSHARE; }

// vmf_error().
unsigned FaultError(long err) {
  return err == -ENOMEM ? kFaultOom : kFaultSigbus;
}

spinlock_t* PageTableLock(const Fault& fault) {
  return &fault.vma->vm_mm->page_table_lock;
}

bool PteSame(const Fault& fault, unsigned long pte) {
  return PteGet(fault.vma, fault.addr) == pte;
}

// hugetlb_pte_stable().
bool PteStable(const Fault& fault) {
  spin_lock(PageTableLock(fault));
  const bool same = PteSame(fault, fault.orig_pte);
  spin_unlock(PageTableLock(fault));
  return same;
}

// hugetlb_wp(): a store to a page that is mapped read only. The page table
// lock is held, dropped meanwhile, and held again at the end.
unsigned Wp(const Fault& fault) {
  struct vm_area_struct* vma = fault.vma;
  const unsigned long pte = PteGet(vma, fault.addr);
  struct folio* old_folio = PteFolio(pte);
  if (Shared(fault) ||
      (folio_test_anon(old_folio) && folio_mapcount(old_folio) == 1)) {
    PteSet(vma, fault.addr, pte | kPteWrite);
    return kFaultDone;
  }
  VM_BUG_ON_FOLIO(folio_test_anon(old_folio), old_folio);

  folio_get(old_folio);
  spin_unlock(PageTableLock(fault));
  struct folio* new_folio = alloc_hugetlb_folio(vma, fault.addr, false);
  if (IS_ERR(new_folio)) {
    folio_put(old_folio);
    spin_lock(PageTableLock(fault));
    return FaultError(PTR_ERR(new_folio));
  }
  cond_resched();
  CopyUserFolio(new_folio, old_folio);
  __folio_mark_uptodate(new_folio);

  spin_lock(PageTableLock(fault));
  const bool unchanged = PteSame(fault, pte);
  if (unchanged) {
    RemoveRmap(old_folio);
    AddAnonRmap(new_folio, vma, fault.addr);
    PteSet(vma, fault.addr,
           MakePte(new_folio, kPtePresent | kPteWrite | kPteAnon));
    folio_set_hugetlb_migratable(new_folio);
  }
  spin_unlock(PageTableLock(fault));
  if (unchanged) {
    folio_put(old_folio);  // the page table's
  } else {
    restore_reserve_on_error(fault.h, vma, fault.addr, new_folio);
    folio_put(new_folio);
  }
  folio_put(old_folio);
  spin_lock(PageTableLock(fault));
  return kFaultDone;
}

// The part of hugetlb_no_page() that makes a page where the file has none.
// Comes back locked; kFaultDone without a folio: try the access again.
unsigned MakePage(const Fault& fault, struct folio** out) {
  struct vm_area_struct* vma = fault.vma;
  struct address_space* mapping = vma->vm_file->f_mapping;
  *out = nullptr;
  const pgoff_t size = i_size_read(mapping->host) >> huge_page_shift(fault.h);
  if (fault.idx >= size) return kFaultSigbus;

  struct folio* folio = alloc_hugetlb_folio(vma, fault.addr, false);
  if (IS_ERR(folio))
    return PteStable(fault) ? FaultError(PTR_ERR(folio)) : kFaultDone;
  folio_zero_user(folio, fault.addr);
  __folio_mark_uptodate(folio);
  if (Shared(fault)) {
    if (hugetlb_add_to_page_cache(folio, mapping, fault.idx)) {
      restore_reserve_on_error(fault.h, vma, fault.addr, folio);
      folio_put(folio);
      return kFaultSigbus;
    }
  } else {
    folio_lock(folio);
  }
  *out = folio;
  return kFaultDone;
}

// hugetlb_no_page(): nothing is mapped. The fault mutex and the vma's lock are
// held; the caller drops them.
unsigned NoPage(const Fault& fault) {
  struct vm_area_struct* vma = fault.vma;
  const bool cow = fault.write && !(vma->vm_flags & VM_SHARED);

  struct folio* folio =
      filemap_lock_hugetlb_folio(fault.h, vma->vm_file->f_mapping, fault.idx);
  const bool fresh = IS_ERR(folio);
  const bool anon = fresh && !Shared(fault);
  if (fresh) {
    const unsigned ret = MakePage(fault, &folio);
    if (!folio) return ret;
  }

  unsigned ret = kFaultDone;
  if (folio_test_hwpoison(folio)) ret = kFaultHwpoison;
  if (!ret && cow) {
    // What recording a reservation needs is allocated outside the spinlock.
    if (VmaNeedsReservation(fault.h, vma, fault.addr) < 0)
      ret = kFaultOom;
    else
      VmaEndReservation(fault.h, vma, fault.addr);
  }
  bool mapped = false;
  bool locked = true;
  if (!ret) {
    spin_lock(PageTableLock(fault));
    mapped = PteSame(fault, fault.orig_pte);
    if (!mapped) spin_unlock(PageTableLock(fault));
  }
  if (!mapped) {
    if (anon) restore_reserve_on_error(fault.h, vma, fault.addr, folio);
    folio_unlock(folio);
    folio_put(folio);
    return ret;
  }

  if (anon)
    AddAnonRmap(folio, vma, fault.addr);
  else
    AddFileRmap(folio);
  const bool writable =
      (vma->vm_flags & VM_SHARED) && (vma->vm_flags & VM_WRITE);
  PteSet(vma, fault.addr,
         MakePte(folio, kPtePresent | (writable ? kPteWrite : 0) |
                            (anon ? kPteAnon : 0)));
  if (cow) {
    if (!anon) {
      locked = false;
      folio_unlock(folio);
    }
    ret = Wp(fault);
  }
  if (fresh) folio_set_hugetlb_migratable(folio);
  spin_unlock(PageTableLock(fault));
  if (locked) folio_unlock(folio);
  return ret;
}

// The rest of hugetlb_fault(): something is mapped.
unsigned PresentPage(const Fault& fault, struct folio** wait_for) {
  struct vm_area_struct* vma = fault.vma;
  *wait_for = nullptr;
  if (!fault.write || (fault.orig_pte & kPteWrite)) return kFaultDone;
  if (!Shared(fault)) {
    if (VmaNeedsReservation(fault.h, vma, fault.addr) < 0) return kFaultOom;
    VmaEndReservation(fault.h, vma, fault.addr);
  }
  spin_lock(PageTableLock(fault));
  unsigned ret = kFaultDone;
  if (PteSame(fault, fault.orig_pte)) {
    struct folio* folio = PteFolio(fault.orig_pte);
    const bool anon = folio_test_anon(folio);
    if (anon && !folio_trylock(folio)) {
      *wait_for = folio;
    } else {
      folio_get(folio);
      ret = Wp(fault);
      spin_unlock(PageTableLock(fault));
      if (anon) folio_unlock(folio);
      folio_put(folio);
      return ret;
    }
  }
  spin_unlock(PageTableLock(fault));
  return ret;
}

}  // namespace

// Follows hugetlb_fault().
unsigned HugetlbFault(struct vm_area_struct* vma, unsigned long address,
                      bool write) {
  struct hstate* h = HstateVma(vma);
  Fault fault = {vma, h, address & huge_page_mask(h), 0, write, 0};
  fault.idx = VmaHugecacheOffset(h, vma, fault.addr);
  struct mutex* mutex = &hugetlb_fault_mutex_table[hugetlb_fault_mutex_hash(
      vma->vm_file->f_mapping, fault.idx)];

  mutex_lock(mutex);
  HugetlbVmaLockRead(vma);
  unsigned ret = kFaultDone;
  struct folio* wait_for = nullptr;
  if (!PteAlloc(vma, fault.addr)) {
    ret = kFaultOom;
  } else {
    fault.orig_pte = PteGet(vma, fault.addr);
    if (!fault.orig_pte) {
      ret = NoPage(fault);
    } else if (fault.orig_pte & kPtePresent) {
      ret = PresentPage(fault, &wait_for);
    } else {
      mutex_unlock(mutex);
      HugetlbVmaUnlockRead(vma);
      MigrationEntryWait(vma, fault.addr);
      return kFaultDone;
    }
  }
  HugetlbVmaUnlockRead(vma);
  mutex_unlock(mutex);
  if (wait_for) WaitLocked(wait_for);
  return ret;
}

// Follows __unmap_hugepage_range() between tlb_gather_mmu() and
// tlb_finish_mmu(): references are dropped at the end, so that a surplus page
// of the range keeps all the others from giving their reservation back. As in
// Linux they are dropped earlier when there are too many. An exit does that
// mapping by mapping, not once for all of them.
void UnmapHugepageRange(struct vm_area_struct* vma, unsigned long start,
                        unsigned long end) {
  struct hstate* h = HstateVma(vma);
  spinlock_t* lock = &vma->vm_mm->page_table_lock;
  lockdep_assert_held(&vma->vm_file->f_mapping->i_mmap_rwsem);

  // On the stack: a kernel may stop halfway.
  struct folio* gathered[128];
  size_t nr = 0;
  auto drop = [&gathered, &nr] {
    for (size_t i = 0; i < nr; ++i) folio_put(gathered[i]);
    nr = 0;
  };
  for (unsigned long addr = start; PteNext(vma, &addr, end);
       addr += huge_page_size(h)) {
    spin_lock(lock);
    const unsigned long pte = PteGet(vma, addr);
    if (pte) PteSet(vma, addr, 0);
    struct folio* folio = PteFolio(pte);
    if (pte & kPtePresent) {
      if (pte & kPteWrite) folio_set_dirty(folio);
      RemoveRmap(folio);
    }
    spin_unlock(lock);
    // A migrating page's entry holds nothing.
    if (!(pte & kPtePresent)) continue;

    // The owner of a private mapping gets its reservation back.
    spin_lock_irq(&hugetlb_lock);
    const bool adjust = !h->surplus_huge_pages && VmaPrivateLock(vma) &&
                        !folio_mapped(folio) && folio_test_anon(folio);
    if (adjust) folio_set_hugetlb_restore_reserve(folio);
    spin_unlock_irq(&hugetlb_lock);
    if (adjust) {
      const long chg = VmaNeedsReservation(h, vma, addr);
      if (chg < 0)
        folio_clear_hugetlb_restore_reserve(folio);
      else if (chg)
        VmaAddReservation(h, vma, addr);
    }
    gathered[nr++] = folio;
    if (nr == std::size(gathered)) drop();
  }
  drop();
}

}  // namespace sim
