// SPDX-License-Identifier: BSD-3-Clause
//
// Faults on mappings of shmem files, as mm/memory.c does. Left out: mapping
// pages around the fault.

#include "sim/machine/actors.h"
#include "sim/mm/mapping.h"
#include "sim/mm/shmem.h"

namespace sim {
namespace {

// finish_fault(): maps a page, unless somebody else was faster.
void Install(struct vm_area_struct* vma, unsigned long addr,
             unsigned long orig_pte, struct folio* folio, unsigned long bits) {
  struct mm_struct* mm = vma->vm_mm;
  spin_lock(&mm->page_table_lock);
  const bool same = PteGet(vma, addr) == orig_pte;
  if (same) {
    if (orig_pte & kPtePresent) RemoveRmap(PteFolio(orig_pte));
    if (bits & kPteAnon)
      AddAnonRmap(folio, vma, addr);
    else
      AddFileRmap(folio);
    PteSet(vma, addr, MakePte(folio, bits));
  }
  spin_unlock(&mm->page_table_lock);
  if (!same)
    folio_put(folio);
  else if (orig_pte & kPtePresent)
    folio_put(PteFolio(orig_pte));
}

}  // namespace

// Follows do_read_fault(), do_cow_fault(), do_shared_fault() and the copying
// half of do_wp_page().
unsigned ShmemFault(struct vm_area_struct* vma, unsigned long address,
                    bool write) {
  const unsigned long addr = address & PAGE_MASK;
  const pgoff_t index = ((addr - vma->vm_start) >> PAGE_SHIFT) + vma->vm_pgoff;
  struct inode* inode = file_inode(vma->vm_file);
  const bool shared = vma->vm_flags & VM_SHARED;
  const bool cow = write && !shared;

  if (!PteAlloc(vma, addr)) return kFaultOom;
  const unsigned long orig_pte = PteGet(vma, addr);
  if (orig_pte & kPteMigration) {
    MigrationEntryWait(vma, addr);
    return kFaultDone;
  }
  if ((orig_pte & kPtePresent) && (!write || (orig_pte & kPteWrite)))
    return kFaultDone;

  struct folio* copy = nullptr;
  if (cow) {
    copy = folio_alloc(GFP_HIGHUSER_MOVABLE, 0);
    if (!copy) return kFaultOom;
  }
  struct folio* folio = ShmemFaultFolio(inode, index);
  if (IS_ERR(folio)) {
    if (copy) folio_put(copy);
    return PTR_ERR(folio) == -ENOMEM ? kFaultOom : kFaultSigbus;
  }
  if (cow) {
    CopyUserFolio(copy, folio);
    folio_mark_uptodate(copy);
    folio_unlock(folio);
    folio_put(folio);
    Install(vma, addr, orig_pte, copy, kPtePresent | kPteWrite | kPteAnon);
    return kFaultDone;
  }
  const bool writable = shared && (vma->vm_flags & VM_WRITE);
  if (writable) folio_mark_dirty(folio);
  Install(vma, addr, orig_pte, folio, kPtePresent | (writable ? kPteWrite : 0));
  folio_unlock(folio);
  return kFaultDone;
}

}  // namespace sim
