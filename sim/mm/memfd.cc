// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/memfd.h"

#include "sim/machine/actors.h"
#include "sim/mm/filemap.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/mapping.h"
#include "sim/mm/shmem.h"
#include "sim/mm/vfs.h"

namespace sim {
namespace {

constexpr unsigned kAllSeals = F_SEAL_SEAL | F_SEAL_EXEC | F_SEAL_SHRINK |
                               F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
constexpr unsigned kAllFlags =
    MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_NOEXEC_SEAL | MFD_EXEC;

// memfd_file_seals_ptr().
unsigned* SealsOf(struct file* file) {
  if (shmem_file(file)) return ShmemSeals(file_inode(file));
  if (is_file_hugepages(file)) return &HUGETLBFS_I(file_inode(file))->seals;
  return nullptr;
}

bool Pinned(struct address_space* mapping) {
  unsigned long index = 0;
  for (void* entry = xa_find(&mapping->i_pages, &index, ~0UL, XA_PRESENT);
       entry;
       entry = xa_find_after(&mapping->i_pages, &index, ~0UL, XA_PRESENT)) {
    const auto* folio = static_cast<struct folio*>(entry);
    if (folio_ref_count(folio) != folio_expected_ref_count(folio)) return true;
  }
  return false;
}

// memfd_wait_for_pins(): folios are looked at five times; between two times
// others may run, while the kernel sleeps some milliseconds.
int WaitForPins(struct address_space* mapping) {
  for (int scan = 0; scan <= 4; scan++) {
    if (!Pinned(mapping)) return 0;
    if (sim_fatal_signal_pending()) break;
    cond_resched();
  }
  return Pinned(mapping) ? -EBUSY : 0;
}

// The hugetlb half of memfd_alloc_folio(); idx in huge pages, the fault mutex
// is held.
struct folio* AllocHugeFolio(struct file* memfd, pgoff_t idx) {
  struct inode* inode = file_inode(memfd);
  struct hstate* h = hstate_file(memfd);
  const long reserved =
      hugetlb_reserve_pages(inode, idx, idx + 1, nullptr, EMPTY_VMA_FLAGS);
  if (reserved < 0) return static_cast<struct folio*>(ERR_PTR(reserved));

  int err = -ENOMEM;
  struct folio* folio = alloc_hugetlb_folio_reserve(
      h, NumaNodeId(), nullptr,
      htlb_alloc_mask(h) & ~(__GFP_HIGHMEM | __GFP_MOVABLE));
  if (folio) {
    folio_zero_user(folio, 0);
    __folio_mark_uptodate(folio);
    err = hugetlb_add_to_page_cache(folio, memfd->f_mapping, idx);
    if (!err) {
      hugetlb_set_folio_subpool(folio, subpool_inode(inode));
      folio_unlock(folio);
      return folio;
    }
    folio_put(folio);
    // Upstream takes the reservation back that the page has used up already, or
    // forgets one that was there before.
    HugetlbReserveWentOff();
  }
  if (reserved > 0) hugetlb_unreserve_pages(inode, idx, idx + 1, 0);
  return static_cast<struct folio*>(ERR_PTR(err));
}

}  // namespace

// Follows memfd_create(), sanitize_flags() and check_sysctl_memfd_noexec()
// with vm.memfd_noexec=0.
struct file* MemfdCreate(unsigned flags) {
  unsigned known = kAllFlags;
  if (flags & MFD_HUGETLB)
    known |= static_cast<unsigned>(MFD_HUGE_MASK) << MFD_HUGE_SHIFT;
  if ((flags & ~known) || ((flags & MFD_EXEC) && (flags & MFD_NOEXEC_SEAL)))
    return static_cast<struct file*>(ERR_PTR(-EINVAL));
  if (!(flags & (MFD_EXEC | MFD_NOEXEC_SEAL))) flags |= MFD_EXEC;
  return memfd_alloc_file("memfd:", flags);
}

}  // namespace sim

using sim::SealsOf;

extern "C" {

// Follows memfd_alloc_folio(): the allocation's reference is the caller's.
struct folio* memfd_alloc_folio(struct file* memfd, pgoff_t idx) {
  if (!is_file_hugepages(memfd))
    return sim::ShmemReadFolio(memfd->f_mapping, idx);
  idx >>= huge_page_order(hstate_file(memfd));
  struct mutex* mutex = &hugetlb_fault_mutex_table[hugetlb_fault_mutex_hash(
      memfd->f_mapping, idx)];
  mutex_lock(mutex);
  struct folio* folio = sim::AllocHugeFolio(memfd, idx);
  mutex_unlock(mutex);
  return folio;
}

// Follows memfd_add_seals().
int memfd_add_seals(struct file* file, unsigned int seals) {
  struct inode* inode = file_inode(file);
  if (!(file->f_mode & FMODE_WRITE)) return -EPERM;
  if (seals & ~sim::kAllSeals) return -EINVAL;

  inode_lock(inode);
  unsigned* file_seals = SealsOf(file);
  int err = 0;
  if (!file_seals)
    err = -EINVAL;
  else if (*file_seals & F_SEAL_SEAL)
    err = -EPERM;
  if (!err && sim::LuoHugetlb()) {
    // HOOK(mm/memfd.c, memfd_add_seals): hugetlb_luo_may_seal
    err = hugetlb_luo_may_seal(file);
  }
  if ((seals & F_SEAL_EXEC) && (inode->i_mode & S_IXUGO)) {
    seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
  }
  if (!err && (seals & F_SEAL_WRITE) && !(*file_seals & F_SEAL_WRITE)) {
    err = sim::MappingDenyWritable(file->f_mapping);
    if (!err) {
      err = sim::WaitForPins(file->f_mapping);
      if (err) sim::MappingAllowWritable(file->f_mapping);
    }
  }
  if (!err) *file_seals |= seals;
  inode_unlock(inode);
  return err;
}

int memfd_get_seals(struct file* file) {
  const unsigned* seals = SealsOf(file);
  return seals ? static_cast<int>(*seals) : -EINVAL;
}

// Follows memfd_check_seals_mmap() and check_write_seal().
int memfd_check_seals_mmap(struct file* file, vm_flags_t* vm_flags) {
  const unsigned* seals = SealsOf(file);
  if (!seals || !(*seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) return 0;
  if (!(*vm_flags & VM_SHARED)) return 0;
  if (*vm_flags & VM_WRITE) return -EPERM;
  *vm_flags &= ~VM_MAYWRITE;
  return 0;
}

// Follows memfd_alloc_file(). Security modules are left out.
struct file* memfd_alloc_file(const char* name, unsigned int flags) {
  const vma_flags_t noreserve = mk_vma_flags(VMA_NORESERVE_BIT);
  struct file* file =
      flags & MFD_HUGETLB
          ? hugetlb_file_setup(name, 0, noreserve, HUGETLB_ANONHUGE_INODE,
                               flags >> MFD_HUGE_SHIFT & MFD_HUGE_MASK)
          : sim::ShmemFileSetup(0);
  if (IS_ERR(file)) return file;
  file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
  file->f_flags |= O_LARGEFILE;

  unsigned* seals = SealsOf(file);
  if (flags & MFD_NOEXEC_SEAL) {
    file_inode(file)->i_mode &= ~S_IXUGO;
    *seals &= ~F_SEAL_SEAL;
    *seals |= F_SEAL_EXEC;
  } else if (flags & MFD_ALLOW_SEALING) {
    *seals &= ~F_SEAL_SEAL;
  }
  return file;
}

}  // extern "C"
