// SPDX-License-Identifier: BSD-3-Clause
//
// Reservations of files and mappings of mm/hugetlb.c, and the lock that each
// mapping has against truncation.

#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"

namespace sim {
namespace {

unsigned long PrivateData(const struct vm_area_struct* vma) {
  return reinterpret_cast<unsigned long>(vma->vm_private_data);
}

void SetPrivateData(struct vm_area_struct* vma, struct resv_map* map,
                    unsigned long flags) {
  vma->vm_private_data =
      reinterpret_cast<void*>(reinterpret_cast<unsigned long>(map) | flags);
}

bool Shared(const struct vm_area_struct* vma) {
  return !vma || (vma->vm_flags & VM_MAYSHARE);
}

struct hugetlb_vma_lock* VmaLock(struct vm_area_struct* vma) {
  return static_cast<struct hugetlb_vma_lock*>(vma->vm_private_data);
}

// The semaphore that stands for the vma, or none (__vma_shareable_lock(),
// __vma_private_lock()).
struct rw_semaphore* VmaSema(struct vm_area_struct* vma) {
  if (VmaShareableLock(vma)) return &VmaLock(vma)->rw_sema;
  if (VmaPrivateLock(vma)) return &VmaResvMap(vma)->rw_sema;
  return nullptr;
}

// __hugetlb_vma_unlock_write_put().
void UnlockWritePut(struct hugetlb_vma_lock* lock) {
  struct vm_area_struct* vma = lock->vma;
  lock->vma = nullptr;
  vma->vm_private_data = nullptr;
  up_write(&lock->rw_sema);
  kref_put(&lock->refs, hugetlb_vma_lock_release);
}

}  // namespace

// Sharing of page tables is left out; the lock is kept for truncation.
bool VmaShareableLock(struct vm_area_struct* vma) {
  return (vma->vm_flags & VM_MAYSHARE) && vma->vm_private_data;
}

bool VmaPrivateLock(struct vm_area_struct* vma) {
  return !(vma->vm_flags & VM_MAYSHARE) && (PrivateData(vma) & ~kResvMask) &&
         (PrivateData(vma) & kResvOwner);
}

void HugetlbVmaLockRead(struct vm_area_struct* vma) {
  if (struct rw_semaphore* sema = VmaSema(vma)) down_read(sema);
}

void HugetlbVmaUnlockRead(struct vm_area_struct* vma) {
  if (struct rw_semaphore* sema = VmaSema(vma)) up_read(sema);
}

void HugetlbVmaLockWrite(struct vm_area_struct* vma) {
  if (struct rw_semaphore* sema = VmaSema(vma)) down_write(sema);
}

void HugetlbVmaUnlockWrite(struct vm_area_struct* vma) {
  if (struct rw_semaphore* sema = VmaSema(vma)) up_write(sema);
}

bool HugetlbVmaTrylockWrite(struct vm_area_struct* vma) {
  struct rw_semaphore* sema = VmaSema(vma);
  return !sema || down_write_trylock(sema);
}

// Follows __hugetlb_vma_unlock_write_free().
void HugetlbVmaUnlockWriteFree(struct vm_area_struct* vma) {
  if (VmaShareableLock(vma))
    UnlockWritePut(VmaLock(vma));
  else if (VmaPrivateLock(vma))
    up_write(&VmaResvMap(vma)->rw_sema);
}

// Follows hugetlb_vma_lock_alloc(): a mapping without the lock works, but
// may race with truncation.
void HugetlbVmaLockAlloc(struct vm_area_struct* vma) {
  if (!vma || !(vma->vm_flags & VM_MAYSHARE) || vma->vm_private_data) return;
  auto* lock = static_cast<struct hugetlb_vma_lock*>(
      kmalloc(sizeof(struct hugetlb_vma_lock), GFP_KERNEL));
  if (!lock) {
    pr_warn_once("HugeTLB: unable to allocate vma specific lock\n");
    return;
  }
  kref_init(&lock->refs);
  sim_init_rwsem(&lock->rw_sema, "vma_lock->rw_sema");
  lock->vma = vma;
  vma->vm_private_data = lock;
}

// Follows hugetlb_vma_lock_free().
void HugetlbVmaLockFree(struct vm_area_struct* vma) {
  if (!vma || !VmaShareableLock(vma)) return;
  down_write(&VmaLock(vma)->rw_sema);
  UnlockWritePut(VmaLock(vma));
}

// Follows hugetlb_vm_op_close(): a private mapping gives back what it
// reserved and did not use.
void HugetlbVmOpClose(struct vm_area_struct* vma) {
  HugetlbVmaLockFree(vma);
  if ((vma->vm_flags & VM_MAYSHARE) || !(PrivateData(vma) & kResvOwner)) return;
  struct resv_map* resv = VmaResvMap(vma);
  if (!resv) return;

  struct hstate* h = HstateVma(vma);
  const long start = VmaHugecacheOffset(h, vma, vma->vm_start);
  const long end = VmaHugecacheOffset(h, vma, vma->vm_end);
  const long unused = (end - start) - region_count(resv, start, end);
  hugetlb_cgroup_uncharge_counter(resv, start, end);
  if (unused) {
    struct hugepage_subpool* spool = subpool_inode(file_inode(vma->vm_file));
    hugetlb_acct_memory(h, -SubpoolPutPages(spool, unused));
  }
  kref_put(&resv->refs, resv_map_release);
}

}  // namespace sim

using sim::Shared;
using sim::SubpoolPutPages;

extern "C" {

// Follows hugetlb_vma_lock_release().
void hugetlb_vma_lock_release(struct kref* ref) {
  kfree(container_of(ref, struct hugetlb_vma_lock, refs));
}

// Follows hugetlb_reserve_pages().
long hugetlb_reserve_pages(struct inode* inode, long from, long to,
                           struct vm_area_struct* vma, vma_flags_t vma_flags) {
  struct hstate* h = hstate_inode(inode);
  struct hugepage_subpool* spool = subpool_inode(inode);
  struct resv_map* resv;
  long chg;
  long regions = 0;
  bool chg_open = false;  // region_chg() waits for its add or abort
  struct hugetlb_cgroup* h_cg = nullptr;
  int err;

  if (WARN_ON(from > to)) return -EINVAL;

  sim::HugetlbVmaLockAlloc(vma);
  if (vma_flags_test(&vma_flags, VMA_NORESERVE_BIT)) return 0;

  if (Shared(vma)) {
    resv = HUGETLBFS_I(inode)->resv_map;
    chg = region_chg(resv, from, to, &regions);
    chg_open = chg >= 0;
    err = 0;
    if (sim::LuoHugetlb()) {
      // HOOK(mm/hugetlb.c, hugetlb_reserve_pages): hugetlb_luo_may_reserve
      err = hugetlb_luo_may_reserve(inode, chg);
    }
    if (!err && chg < 0) err = chg == -ENOMEM ? -ENOMEM : -EINVAL;
    if (err) goto out_err;
  } else {
    resv = resv_map_alloc();
    if (!resv) return -ENOMEM;
    chg = to - from;
    sim::SetPrivateData(vma, resv, sim::kResvOwner);
  }

  err = hugetlb_cgroup_charge_cgroup_rsvd(
      hstate_index(h), static_cast<unsigned long>(chg) * pages_per_huge_page(h),
      &h_cg);
  if (err < 0) goto out_err;
  if (!Shared(vma) && h_cg) {
    // resv_map_set_hugetlb_cgroup_uncharge_info()
    resv->reservation_counter = &h_cg->rsvd_hugepage[hstate_index(h)];
    resv->pages_per_hpage = pages_per_huge_page(h);
    resv->css = &h_cg->css;
  }

  {
    const long global = sim::SubpoolGetPages(spool, chg);
    if (global < 0) {
      err = static_cast<int>(global);
      goto out_uncharge;
    }
    err = hugetlb_acct_memory(h, global);
    if (!err && Shared(vma)) {
      const long add = region_add(resv, from, to, regions, h, h_cg);
      if (add < 0) {
        hugetlb_acct_memory(h, -global);
        err = static_cast<int>(add);
      } else {
        chg_open = false;
        if (chg > add) {
          // alloc_hugetlb_folio() added pages of the range meanwhile.
          hugetlb_cgroup_uncharge_cgroup_rsvd(
              hstate_index(h),
              static_cast<unsigned long>(chg - add) * pages_per_huge_page(h),
              h_cg);
          hugetlb_acct_memory(h, -SubpoolPutPages(spool, chg - add));
        } else if (h_cg) {
          hugetlb_cgroup_put_rsvd_cgroup(h_cg);
        }
      }
    }
    if (!err) return chg;
    sim::SubpoolUnuse(spool, global);
    if (chg - global)
      hugetlb_acct_memory(h, -SubpoolPutPages(spool, chg - global));
  }
out_uncharge:
  hugetlb_cgroup_uncharge_cgroup_rsvd(
      hstate_index(h), static_cast<unsigned long>(chg) * pages_per_huge_page(h),
      h_cg);
out_err:
  sim::HugetlbVmaLockFree(vma);
  if (chg_open) region_abort(resv, from, to, regions);
  if (!Shared(vma)) {
    kref_put(&resv->refs, resv_map_release);
    vma->vm_private_data = nullptr;
  }
  return err;
}

// Follows hugetlb_unreserve_pages(): `freed` of the pages in the range were
// in the file, the others only reserved.
long hugetlb_unreserve_pages(struct inode* inode, long start, long end,
                             long freed) {
  struct hstate* h = hstate_inode(inode);
  struct resv_map* resv = HUGETLBFS_I(inode)->resv_map;
  long chg = 0;
  if (resv) {
    chg = region_del(resv, start, end);
    if (chg < 0) return chg;
  }
  spin_lock(&inode->i_lock);
  inode->i_blocks -= blocks_per_huge_page(h) * freed;
  spin_unlock(&inode->i_lock);
  hugetlb_acct_memory(h, -SubpoolPutPages(subpool_inode(inode), chg - freed));
  return 0;
}

// Follows hugetlb_add_to_page_cache(); comes with the page locked.
int hugetlb_add_to_page_cache(struct folio* folio,
                              struct address_space* mapping, pgoff_t idx) {
  struct inode* inode = mapping->host;
  struct hstate* h = hstate_inode(inode);
  __folio_set_locked(folio);
  int err;
  if (sim::LuoHugetlb()) {
    // HOOK(mm/hugetlb.c, hugetlb_add_to_page_cache): hugetlb_luo_add_folio
    err = hugetlb_luo_add_folio(mapping, folio, idx << huge_page_order(h));
  } else {
    err = __filemap_add_folio(mapping, folio, idx << huge_page_order(h),
                              GFP_KERNEL, nullptr);
  }
  if (err) {
    __folio_clear_locked(folio);
    return err;
  }
  folio_clear_hugetlb_restore_reserve(folio);
  folio_mark_dirty(folio);
  spin_lock(&inode->i_lock);
  inode->i_blocks += blocks_per_huge_page(h);
  spin_unlock(&inode->i_lock);
  return 0;
}

}  // extern "C"
