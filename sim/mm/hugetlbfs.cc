// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/hugetlbfs.h"

#include <climits>

#include "sim/machine/actors.h"
#include "sim/mm/boot.h"
#include "sim/mm/filemap.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_cmdline.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/mapping.h"
#include "sim/mm/shmem.h"
#include "sim/mm/vfs.h"

namespace sim {
namespace {

constexpr loff_t kTruncate = MAX_LFS_FILESIZE;  // LLONG_MAX: no end

// One internal mount for each hstate (hugetlbfs_vfsmount[]); nullptr where
// there is none.
struct super_block* mounts[HUGE_MAX_HSTATE];
const struct file_operations kFileOperations = {FOP_HUGE_PAGES};

struct mutex* FaultMutex(struct address_space* mapping, pgoff_t idx) {
  return &hugetlb_fault_mutex_table[hugetlb_fault_mutex_hash(mapping, idx)];
}

// vma_offset_start() and vma_offset_end(): the addresses of the file's 4 KiB
// pages [start, end) in the vma; end 0 is no end.
unsigned long VmaOffsetStart(struct vm_area_struct* vma, pgoff_t start) {
  if (vma->vm_pgoff >= start) return vma->vm_start;
  return vma->vm_start + ((start - vma->vm_pgoff) << PAGE_SHIFT);
}

unsigned long VmaOffsetEnd(struct vm_area_struct* vma, pgoff_t end) {
  if (!end) return vma->vm_end;
  const unsigned long at =
      vma->vm_start + ((end - vma->vm_pgoff) << PAGE_SHIFT);
  return at < vma->vm_end ? at : vma->vm_end;
}

// hugetlb_vma_maps_pfn().
bool VmaMaps(struct vm_area_struct* vma, unsigned long addr,
             const struct folio* folio) {
  const unsigned long pte = PteGet(vma, addr);
  return (pte & kPtePresent) && PteFolio(pte) == folio;
}

// Waits until the lock of a mapping was free, and takes the folio out of that
// mapping if it is still there. `lock` comes with a reference.
void UnmapBusyVma(struct hugetlb_vma_lock* lock, struct address_space* mapping,
                  const struct folio* folio, pgoff_t start, pgoff_t end) {
  down_write(&lock->rw_sema);
  IMmapLockWrite(mapping);
  struct vm_area_struct* vma = lock->vma;
  if (vma) {
    const unsigned long v_start = VmaOffsetStart(vma, start);
    if (VmaMaps(vma, v_start, folio))
      UnmapHugepageRange(vma, v_start, VmaOffsetEnd(vma, end));
  }
  IMmapUnlockWrite(mapping);
  up_write(&lock->rw_sema);
  kref_put(&lock->refs, hugetlb_vma_lock_release);
}

// hugetlb_unmap_file_folio(): a page that was faulted in again while its range
// was unmapped. The fault mutex is held, so nobody maps it meanwhile. Upstream
// takes a private mapping's reservation map for a hugetlb_vma_lock when its
// lock is taken; here it is waited for, then looked at again.
void UnmapFileFolio(struct hstate* h, struct address_space* mapping,
                    struct folio* folio, pgoff_t index) {
  const pgoff_t start = index << huge_page_order(h);
  const pgoff_t end = (index + 1) << huge_page_order(h);

  for (;;) {
    struct hugetlb_vma_lock* busy = nullptr;
    struct resv_map* busy_private = nullptr;
    IMmapLockWrite(mapping);
    ForEachVma(mapping, start, end, [&](struct vm_area_struct* vma) {
      const unsigned long v_start = VmaOffsetStart(vma, start);
      if (!VmaMaps(vma, v_start, folio)) return true;
      if (HugetlbVmaTrylockWrite(vma)) {
        UnmapHugepageRange(vma, v_start, VmaOffsetEnd(vma, end));
        HugetlbVmaUnlockWrite(vma);
        return true;
      }
      if (VmaShareableLock(vma)) {
        busy = static_cast<struct hugetlb_vma_lock*>(vma->vm_private_data);
        kref_get(&busy->refs);
      } else {
        busy_private = VmaResvMap(vma);
        kref_get(&busy_private->refs);
      }
      return false;
    });
    IMmapUnlockWrite(mapping);
    if (busy) {
      UnmapBusyVma(busy, mapping, folio, start, end);
    } else if (busy_private) {
      down_write(&busy_private->rw_sema);
      up_write(&busy_private->rw_sema);
      kref_put(&busy_private->refs, resv_map_release);
    } else {
      return;
    }
  }
}

// hugetlb_vmdelete_list(); i_mmap_rwsem is held. A mapping whose lock is taken
// is left to remove_inode_single_folio().
void VmdeleteList(struct address_space* mapping, pgoff_t start, pgoff_t end) {
  ForEachVma(mapping, start, end ? end : ~0UL, [&](struct vm_area_struct* vma) {
    if (!HugetlbVmaTrylockWrite(vma)) return true;
    UnmapHugepageRange(vma, VmaOffsetStart(vma, start), VmaOffsetEnd(vma, end));
    HugetlbVmaUnlockWrite(vma);
    return true;
  });
}

// remove_inode_single_folio(); the fault mutex is held.
void RemoveFolio(struct hstate* h, struct inode* inode, struct folio* folio,
                 pgoff_t index, bool truncate) {
  folio_lock(folio);
  if (folio_mapped(folio)) UnmapFileFolio(h, &inode->i_data, folio, index);
  VM_BUG_ON_FOLIO(folio_test_hugetlb_restore_reserve(folio), folio);
  folio_clear_dirty_sim(folio);
  folio_clear_uptodate(folio);
  filemap_remove_folio(folio);
  if (!truncate && hugetlb_unreserve_pages(inode, index, index + 1, 1))
    hugetlb_fix_reserve_counts(inode);
  folio_unlock(folio);
}

// remove_inode_hugepages(): the pages of [start, end). Truncation (end is
// kTruncate) drops the reservations of the whole range, a hole punch those of
// the pages that were there.
void RemoveInodeHugepages(struct inode* inode, loff_t start, loff_t end) {
  struct hstate* h = hstate_inode(inode);
  struct address_space* mapping = &inode->i_data;
  const bool truncate = end == kTruncate;
  const pgoff_t last = (static_cast<pgoff_t>(end) >> PAGE_SHIFT) - 1;
  pgoff_t next = start >> PAGE_SHIFT;
  long freed = 0;

  struct folio_batch batch;
  folio_batch_init(&batch);
  while (filemap_get_folios(mapping, &next, last, &batch)) {
    for (unsigned i = 0; i < folio_batch_count(&batch); i++) {
      struct folio* folio = batch.folios[i];
      const pgoff_t index = folio->index >> huge_page_order(h);
      mutex_lock(FaultMutex(mapping, index));
      RemoveFolio(h, inode, folio, index, truncate);
      freed++;
      mutex_unlock(FaultMutex(mapping, index));
    }
    folio_batch_release(&batch);
    cond_resched();
  }
  if (truncate) {
    hugetlb_unreserve_pages(inode, start >> huge_page_shift(h), LONG_MAX,
                            freed);
  }
}

// hugetlb_vmtruncate().
void Vmtruncate(struct inode* inode, loff_t size) {
  struct address_space* mapping = inode->i_mapping;
  i_size_write(inode, size);
  IMmapLockWrite(mapping);
  VmdeleteList(mapping, size >> PAGE_SHIFT, 0);
  IMmapUnlockWrite(mapping);
  RemoveInodeHugepages(inode, size, kTruncate);
}

// hugetlbfs_zero_partial_page(): [start, end) lies in one huge page.
void ZeroPartialPage(struct hstate* h, struct address_space* mapping,
                     loff_t start, loff_t end) {
  struct folio* folio =
      filemap_lock_hugetlb_folio(h, mapping, start >> huge_page_shift(h));
  if (IS_ERR(folio)) return;
  const size_t from = start & ~huge_page_mask(h);
  const size_t to = end & ~huge_page_mask(h);
  ZeroSegment(folio, from, to ? to : huge_page_size(h));
  folio_unlock(folio);
  folio_put(folio);
}

// hugetlbfs_punch_hole().
long PunchHole(struct inode* inode, loff_t offset, loff_t len) {
  struct address_space* mapping = inode->i_mapping;
  struct hstate* h = hstate_inode(inode);
  const loff_t size = huge_page_size(h);
  const loff_t end = offset + len;
  const loff_t hole_start = (offset + size - 1) / size * size;
  const loff_t hole_end = end / size * size;

  inode_lock(inode);
  bool fixed = HUGETLBFS_I(inode)->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
  if (!fixed && LuoHugetlb()) {
    // HOOK(fs/hugetlbfs/inode.c, hugetlbfs_punch_hole): hugetlb_luo_may_resize
    fixed = hugetlb_luo_may_resize(inode);
  }
  if (fixed) {
    inode_unlock(inode);
    return -EPERM;
  }
  IMmapLockWrite(mapping);
  if (offset < hole_start)
    ZeroPartialPage(h, mapping, offset, end < hole_start ? end : hole_start);
  if (hole_end > hole_start) {
    VmdeleteList(mapping, hole_start >> PAGE_SHIFT, hole_end >> PAGE_SHIFT);
  }
  if (end > hole_end && end > hole_start)
    ZeroPartialPage(h, mapping, hole_end, end);
  IMmapUnlockWrite(mapping);

  if (hole_end > hole_start) RemoveInodeHugepages(inode, hole_start, hole_end);
  inode_unlock(inode);
  return 0;
}

// One page of hugetlbfs_fallocate(): allocated, unless it is there.
int FallocatePage(struct vm_area_struct* vma, struct inode* inode,
                  pgoff_t index) {
  struct hstate* h = hstate_inode(inode);
  struct address_space* mapping = inode->i_mapping;
  const unsigned long addr = index << huge_page_shift(h);
  struct mutex* mutex = FaultMutex(mapping, index);

  mutex_lock(mutex);
  struct folio* folio = filemap_get_folio(mapping, index << huge_page_order(h));
  if (!IS_ERR(folio)) {
    folio_put(folio);
    mutex_unlock(mutex);
    return 0;
  }
  folio = alloc_hugetlb_folio(vma, addr, false);
  if (IS_ERR(folio)) {
    mutex_unlock(mutex);
    return static_cast<int>(PTR_ERR(folio));
  }
  folio_zero_user(folio, addr);
  __folio_mark_uptodate(folio);
  const int err = hugetlb_add_to_page_cache(folio, mapping, index);
  if (err) {
    restore_reserve_on_error(h, vma, addr, folio);
    folio_put(folio);
    mutex_unlock(mutex);
    return err;
  }
  mutex_unlock(mutex);
  folio_set_hugetlb_migratable(folio);
  folio_unlock(folio);
  folio_put(folio);
  return 0;
}

// hugetlbfs_get_inode() for a regular file.
struct inode* GetInode(struct super_block* sb, umode_t mode) {
  struct resv_map* resv = resv_map_alloc();
  if (!resv) return nullptr;
  struct inode* inode =
      NewInode(sb, sizeof(struct hugetlbfs_inode_info),
               offsetof(struct hugetlbfs_inode_info, vfs_inode), mode);
  if (!inode) {
    kref_put(&resv->refs, resv_map_release);
    return nullptr;
  }
  HUGETLBFS_I(inode)->resv_map = resv;
  HUGETLBFS_I(inode)->seals = F_SEAL_SEAL;
  return inode;
}

// mount_one_hugetlbfs(): an internal mount, without limits, so no subpool.
struct super_block* MountOne(struct hstate* h) {
  auto* sb = static_cast<struct super_block*>(
      kzalloc(sizeof(struct super_block), GFP_KERNEL));
  auto* info = static_cast<struct hugetlbfs_sb_info*>(
      kzalloc(sizeof(struct hugetlbfs_sb_info), GFP_KERNEL));
  if (!sb || !info) {
    kfree(sb);
    kfree(info);
    pr_err("Cannot mount internal hugetlbfs for page size %luK",
           huge_page_size(h) / 1024);
    return nullptr;
  }
  info->hstate = h;
  sb->s_flags = SB_KERNMOUNT;
  sb->s_fs_info = info;
  return sb;
}

}  // namespace

void HugetlbfsReset() {
  for (struct super_block*& sb : mounts) sb = nullptr;
  SubpoolReset();
  VfsReset();
  ShmemReset();
  MappingReset();
}

// Follows init_hugetlbfs_fs() and shmem_init().
void HugetlbfsInit() {
  ShmemInit();
  if (!HugepagesSupported()) {
    pr_info("disabling because there are no supported hugepage sizes\n");
    return;
  }
  mounts[default_hstate_idx] = MountOne(&default_hstate);
  if (!mounts[default_hstate_idx]) return;
  for (int i = 0; i < hugetlb_max_hstate; i++) {
    if (!mounts[i]) mounts[i] = MountOne(&hstates[i]);
  }
}

// Follows hugetlbfs_validate(), hugetlbfs_fill_super() and hugetlbfs_mknod().
// inode limits, owners and modes are left out.
struct file* HugetlbfsMountFile(uint64_t page_size, long most, long least,
                                bool unlinked) {
  auto error = [](long err) { return static_cast<struct file*>(ERR_PTR(err)); };
  // The file system was never registered.
  if (!mounts[default_hstate_idx]) return error(-ENODEV);
  struct hstate* h = size_to_hstate(page_size);
  if (!h || (most >= 0 && least > most)) return error(-EINVAL);
  auto* sb = static_cast<struct super_block*>(
      kzalloc(sizeof(struct super_block), GFP_KERNEL));
  auto* info = static_cast<struct hugetlbfs_sb_info*>(
      kzalloc(sizeof(struct hugetlbfs_sb_info), GFP_KERNEL));
  const bool limits = most >= 0 || least >= 0;
  if (sb && info && limits) info->spool = SubpoolNew(h, most, least);
  if (!sb || !info || (limits && !info->spool)) {
    kfree(sb);
    kfree(info);
    return error(-ENOMEM);
  }
  info->hstate = h;
  sb->s_fs_info = info;
  struct inode* inode = GetInode(sb, S_IFREG | S_IRWXUGO);
  if (!inode) {
    HugetlbfsKillSuper(sb);
    return error(-ENOSPC);
  }
  if (unlinked) inode->i_nlink = 0;
  struct file* file = AllocFilePseudo(inode, O_RDWR, &kFileOperations);
  if (!file) {
    iput(inode);
    return error(-ENFILE);
  }
  file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
  file->f_flags |= O_LARGEFILE;
  return file;
}

// Follows hugetlbfs_put_super().
void HugetlbfsKillSuper(struct super_block* sb) {
  auto* info = static_cast<struct hugetlbfs_sb_info*>(sb->s_fs_info);
  SubpoolPut(info->spool);
  kfree(info);
  kfree(sb);
}

// Follows hugetlbfs_evict_inode().
void HugetlbfsEvictInode(struct inode* inode) {
  RemoveInodeHugepages(inode, 0, kTruncate);
  struct resv_map* resv = HUGETLBFS_I(inode)->resv_map;
  if (resv) resv_map_release(&resv->refs);
}

// Follows hugetlbfs_fallocate().
long HugetlbfsFallocate(struct file* file, int mode, loff_t offset,
                        loff_t len) {
  struct inode* inode = file_inode(file);
  struct hstate* h = hstate_inode(inode);
  if (mode & FALLOC_FL_PUNCH_HOLE) return PunchHole(inode, offset, len);

  const loff_t end = offset + len;
  inode_lock(inode);
  bool fixed = HUGETLBFS_I(inode)->seals & F_SEAL_GROW;
  if (!fixed && LuoHugetlb()) {
    // HOOK(fs/hugetlbfs/inode.c, hugetlbfs_fallocate): hugetlb_luo_may_resize
    fixed = hugetlb_luo_may_resize(inode);
  }
  if (fixed && end > inode->i_size) {
    inode_unlock(inode);
    return -EPERM;
  }

  struct vm_area_struct pseudo_vma;
  memset(static_cast<void*>(&pseudo_vma), 0, sizeof(pseudo_vma));
  pseudo_vma.vm_flags = VM_HUGETLB | VM_MAYSHARE | VM_SHARED;
  pseudo_vma.vm_file = file;

  const unsigned shift = huge_page_shift(h);
  const pgoff_t last = (end + huge_page_size(h) - 1) >> shift;
  int err = 0;
  for (pgoff_t index = offset >> shift; index < last; index++) {
    cond_resched();
    if (sim_fatal_signal_pending()) {
      // Upstream only breaks out here, and sets the size all the same.
      err = -EINTR;
      break;
    }
    err = FallocatePage(&pseudo_vma, inode, index);
    if (err) {
      inode_unlock(inode);
      return err;
    }
  }
  if (!(mode & FALLOC_FL_KEEP_SIZE) && end > inode->i_size)
    i_size_write(inode, end);
  inode_unlock(inode);
  return err;
}

// Follows hugetlbfs_setattr(), the part for ATTR_SIZE.
int HugetlbfsSetattrSize(struct inode* inode, loff_t new_size) {
  const unsigned seals = HUGETLBFS_I(inode)->seals;
  if (new_size & ~huge_page_mask(hstate_inode(inode))) return -EINVAL;
  bool fixed = (new_size < inode->i_size && (seals & F_SEAL_SHRINK)) ||
               (new_size > inode->i_size && (seals & F_SEAL_GROW));
  if (!fixed && LuoHugetlb()) {
    // HOOK(fs/hugetlbfs/inode.c, hugetlbfs_setattr): hugetlb_luo_may_resize
    fixed = hugetlb_luo_may_resize(inode);
  }
  if (fixed) return -EPERM;
  Vmtruncate(inode, new_size);
  return 0;
}

// Follows hugetlbfs_file_mmap().
int HugetlbfsFileMmap(struct file* file, struct vm_area_struct* vma) {
  struct inode* inode = file_inode(file);
  struct hstate* h = hstate_file(file);
  const loff_t len = (vma->vm_end - vma->vm_start) +
                     (static_cast<loff_t>(vma->vm_pgoff) << PAGE_SHIFT);
  vma->vm_flags |= VM_HUGETLB;
  if (vma->vm_pgoff & (pages_per_huge_page(h) - 1)) return -EINVAL;
  if (len < 0) return -EINVAL;

  inode_lock(inode);
  if (LuoHugetlb() && (vma->vm_flags & VM_WRITE) && inode->i_size < len) {
    // HOOK(fs/hugetlbfs/inode.c, hugetlbfs_file_mmap): hugetlb_luo_may_resize
    const int err = hugetlb_luo_may_resize(inode);
    if (err) {
      inode_unlock(inode);
      return err;
    }
  }
  vma_flags_t flags = {vma->vm_flags};
  if (inode->i_flags & S_PRIVATE) flags.bits |= VM_NORESERVE;
  if (hugetlb_reserve_pages(inode, vma->vm_pgoff >> huge_page_order(h),
                            len >> huge_page_shift(h), vma, flags) < 0) {
    inode_unlock(inode);
    return -ENOMEM;
  }
  if ((vma->vm_flags & VM_WRITE) && inode->i_size < len)
    i_size_write(inode, len);
  inode_unlock(inode);
  return 0;
}

}  // namespace sim

extern "C" {

bool is_file_hugepages(const struct file* file) {
  return file->f_op->fop_flags & FOP_HUGE_PAGES;
}

// Follows hugetlb_file_setup(). Permission for SysV shared memory is left out.
struct file* hugetlb_file_setup(const char* name, size_t size, vma_flags_t acct,
                                int creat_flags, int page_size_log) {
  (void)name;
  struct hstate* h = &default_hstate;
  if (page_size_log) {
    h = page_size_log < BITS_PER_LONG ? size_to_hstate(1UL << page_size_log)
                                      : nullptr;
  }
  if (!h) return static_cast<struct file*>(ERR_PTR(-ENODEV));
  struct super_block* sb = sim::mounts[hstate_index(h)];
  if (!sb) return static_cast<struct file*>(ERR_PTR(-ENOENT));

  struct inode* inode = sim::GetInode(sb, S_IFREG | S_IRWXUGO);
  if (!inode) return static_cast<struct file*>(ERR_PTR(-ENOSPC));
  if (creat_flags == HUGETLB_SHMFS_INODE) inode->i_flags |= S_PRIVATE;
  inode->i_size = size;
  inode->i_nlink = 0;

  struct file* file = nullptr;
  if (hugetlb_reserve_pages(inode, 0, size >> huge_page_shift(h), nullptr,
                            acct) >= 0) {
    file = sim::AllocFilePseudo(inode, O_RDWR, &sim::kFileOperations);
  }
  if (file) return file;
  iput(inode);
  return static_cast<struct file*>(ERR_PTR(-ENOMEM));
}

}  // extern "C"
