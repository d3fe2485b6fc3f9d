// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/shmem.h"

#include <climits>

#include "sim/machine/actors.h"
#include "sim/mm/filemap.h"
#include "sim/mm/mapping.h"
#include "sim/mm/vfs.h"

namespace sim {
namespace {

constexpr unsigned kFrozen = 1u << 2;  // SHMEM_F_MAPPING_FROZEN
constexpr gfp_t kGfp = GFP_HIGHUSER_MOVABLE;

struct super_block shm_mount;  // s_fs_info is nullptr: not hugetlbfs
const struct file_operations kFileOperations = {0};

// enum sgp_type: what shmem_get_folio() is asked for.
enum class Sgp { kCache, kFalloc };

template <typename T>
T* Err(long err) {
  return static_cast<T*>(ERR_PTR(err));
}

// shmem_alloc_and_add_folio(): the new page is locked.
struct folio* AllocAndAdd(struct address_space* mapping, pgoff_t index) {
  struct folio* folio = folio_alloc(kGfp, 0);
  if (!folio) return Err<struct folio>(-ENOMEM);
  __folio_set_locked(folio);
  folio_set_swapbacked(folio);
  const int err = shmem_add_to_page_cache(folio, mapping, index, nullptr, kGfp);
  if (err) {
    folio_unlock(folio);
    folio_put(folio);
    return Err<struct folio>(err);
  }
  return folio;
}

// shmem_get_folio_gfp(): found or made, locked. kFalloc leaves a new page not
// up to date, so that a failed fallocate knows it as its own.
struct folio* GetFolio(struct inode* inode, pgoff_t index, Sgp sgp) {
  struct address_space* mapping = inode->i_mapping;
  const loff_t start = static_cast<loff_t>(index) << PAGE_SHIFT;
  for (;;) {
    if (sgp == Sgp::kCache && start >= i_size_read(inode))
      return Err<struct folio>(-EINVAL);

    struct folio* folio = filemap_lock_folio(mapping, index);
    const bool fresh = IS_ERR(folio);
    if (fresh) {
      folio = AllocAndAdd(mapping, index);
      if (PTR_ERR(folio) == -EEXIST) continue;
      if (IS_ERR(folio)) return folio;
    } else if (folio_test_uptodate(folio)) {
      return folio;
    }
    if (!(fresh && sgp == Sgp::kFalloc)) {
      folio_zero_user(folio, 0);
      folio_mark_uptodate(folio);
    }
    if (sgp == Sgp::kCache && start >= i_size_read(inode)) {
      if (fresh) filemap_remove_folio(folio);
      folio_unlock(folio);
      folio_put(folio);
      return Err<struct folio>(-EINVAL);
    }
    return folio;
  }
}

// truncate_inode_folio(); the folio is locked.
void TruncateFolio(struct address_space* mapping, struct folio* folio) {
  if (folio->mapping != mapping) return;
  if (folio_mapped(folio))
    UnmapMappingPages(mapping, folio->index, folio->index + 1, false);
  folio_clear_dirty_sim(folio);
  filemap_remove_folio(folio);
}

// shmem_undo_range(): drops the whole pages of [start, end) and zeroes the
// parts of others. `unfalloc`: only what a failed fallocate left behind.
void UndoRange(struct inode* inode, loff_t start, loff_t end, bool unfalloc) {
  struct address_space* mapping = inode->i_mapping;
  pgoff_t next = (start + PAGE_SIZE - 1) >> PAGE_SHIFT;
  const pgoff_t stop = static_cast<pgoff_t>(end) >> PAGE_SHIFT;

  struct folio_batch batch;
  folio_batch_init(&batch);
  while (stop && next < stop &&
         filemap_get_folios(mapping, &next, stop - 1, &batch)) {
    for (unsigned i = 0; i < folio_batch_count(&batch); i++) {
      struct folio* folio = batch.folios[i];
      folio_lock(folio);
      if (!unfalloc || !folio_test_uptodate(folio))
        TruncateFolio(mapping, folio);
      folio_unlock(folio);
    }
    folio_batch_release(&batch);
    cond_resched();
  }
  if (unfalloc) return;

  const loff_t edges[2] = {start, end};
  for (const loff_t edge : edges) {
    const pgoff_t index = static_cast<pgoff_t>(edge) >> PAGE_SHIFT;
    const loff_t page = static_cast<loff_t>(index) << PAGE_SHIFT;
    if (edge == page) continue;
    struct folio* folio = filemap_lock_folio(mapping, index);
    if (IS_ERR(folio)) continue;
    const loff_t from = start > page ? start - page : 0;
    const loff_t to = end - page < static_cast<loff_t>(PAGE_SIZE)
                          ? end - page
                          : static_cast<loff_t>(PAGE_SIZE);
    folio_mark_dirty(folio);
    ZeroSegment(folio, from, to);
    folio_unlock(folio);
    folio_put(folio);
    if (start >> PAGE_SHIFT == end >> PAGE_SHIFT) break;
  }
}

long PunchHole(struct inode* inode, loff_t offset, loff_t len) {
  const loff_t end = offset + len;
  const pgoff_t first = (offset + PAGE_SIZE - 1) >> PAGE_SHIFT;
  const pgoff_t last = static_cast<pgoff_t>(end) >> PAGE_SHIFT;
  if (ShmemI(inode)->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
    return -EPERM;
  if (last > first) UnmapMappingPages(inode->i_mapping, first, last, false);
  UndoRange(inode, offset, end, false);
  return 0;
}

// The preallocating part of shmem_fallocate().
long Preallocate(struct inode* inode, loff_t offset, loff_t end) {
  const pgoff_t first = static_cast<pgoff_t>(offset) >> PAGE_SHIFT;
  const pgoff_t last = (end + PAGE_SIZE - 1) >> PAGE_SHIFT;
  for (pgoff_t index = first; index < last; index++) {
    long err = 0;
    struct folio* folio = nullptr;
    if (sim_fatal_signal_pending()) {
      err = -EINTR;
    } else {
      folio = GetFolio(inode, index, Sgp::kFalloc);
      if (IS_ERR(folio)) err = PTR_ERR(folio);
    }
    if (err) {
      if (index > first) {
        UndoRange(inode, static_cast<loff_t>(first) << PAGE_SHIFT,
                  static_cast<loff_t>(index) << PAGE_SHIFT, true);
      }
      return err;
    }
    folio_mark_dirty(folio);
    folio_unlock(folio);
    folio_put(folio);
    cond_resched();
  }
  return 0;
}

}  // namespace

bool ShmemFrozen(struct inode* inode) { return ShmemI(inode)->flags & kFrozen; }

void ShmemReset() { shm_mount = {0, nullptr}; }

// Follows shmem_init(): the internal mount.
void ShmemInit() { shm_mount = {SB_KERNMOUNT, nullptr}; }

// Follows __shmem_file_setup() and __shmem_get_inode().
struct file* ShmemFileSetup(loff_t size) {
  struct inode* inode = NewInode(&shm_mount, sizeof(struct shmem_inode_info),
                                 kShmemInodeOffset, S_IFREG | S_IRWXUGO);
  if (!inode) return Err<struct file>(-ENOSPC);
  ShmemI(inode)->seals = F_SEAL_SEAL;
  inode->i_size = size;
  inode->i_nlink = 0;
  struct file* file = AllocFilePseudo(inode, O_RDWR, &kFileOperations);
  if (!file) {
    iput(inode);
    return Err<struct file>(-ENOMEM);
  }
  return file;
}

// Follows shmem_evict_inode().
void ShmemEvictInode(struct inode* inode) {
  inode->i_size = 0;
  UndoRange(inode, 0, MAX_LFS_FILESIZE & ~(PAGE_SIZE - 1), false);
}

// Follows shmem_fallocate().
long ShmemFallocate(struct file* file, int mode, loff_t offset, loff_t len) {
  struct inode* inode = file_inode(file);
  const loff_t end = offset + len;
  long err;

  inode_lock(inode);
  if (ShmemFrozen(inode)) {
    err = -EPERM;
  } else if (mode & FALLOC_FL_PUNCH_HOLE) {
    err = PunchHole(inode, offset, len);
  } else if ((ShmemI(inode)->seals & F_SEAL_GROW) && end > inode->i_size) {
    err = -EPERM;
  } else {
    err = Preallocate(inode, offset, end);
    if (!err && !(mode & FALLOC_FL_KEEP_SIZE) && end > inode->i_size)
      i_size_write(inode, end);
  }
  inode_unlock(inode);
  return err;
}

// Follows shmem_setattr(), the part for ATTR_SIZE.
int ShmemSetattrSize(struct inode* inode, loff_t new_size) {
  const loff_t old_size = inode->i_size;
  const unsigned seals = ShmemI(inode)->seals;
  if ((new_size < old_size && (seals & F_SEAL_SHRINK)) ||
      (new_size > old_size && (seals & F_SEAL_GROW))) {
    return -EPERM;
  }
  if (new_size != old_size) {
    if (ShmemFrozen(inode)) return -EPERM;
    i_size_write(inode, new_size);
  }
  if (new_size > old_size) return 0;
  const pgoff_t hole = (new_size + PAGE_SIZE - 1) >> PAGE_SHIFT;
  if (old_size > static_cast<loff_t>(hole << PAGE_SHIFT))
    UnmapMappingPages(inode->i_mapping, hole, ULONG_MAX, true);
  UndoRange(inode, new_size, MAX_LFS_FILESIZE & ~(PAGE_SIZE - 1), false);
  if (old_size > static_cast<loff_t>(hole << PAGE_SHIFT))
    UnmapMappingPages(inode->i_mapping, hole, ULONG_MAX, true);
  return 0;
}

struct folio* ShmemReadFolio(struct address_space* mapping, pgoff_t index) {
  struct folio* folio = GetFolio(mapping->host, index, Sgp::kCache);
  if (!IS_ERR(folio)) folio_unlock(folio);
  return folio;
}

struct folio* ShmemFaultFolio(struct inode* inode, pgoff_t index) {
  return GetFolio(inode, index, Sgp::kCache);
}

}  // namespace sim

extern "C" {

bool shmem_file(struct file* file) {
  return file->f_op == &sim::kFileOperations;
}

void shmem_freeze(struct inode* inode, bool freeze) {
  if (freeze)
    sim::ShmemI(inode)->flags |= sim::kFrozen;
  else
    sim::ShmemI(inode)->flags &= ~sim::kFrozen;
}

// Follows shmem_add_to_page_cache(); no swap entries are expected.
int shmem_add_to_page_cache(struct folio* folio, struct address_space* mapping,
                            pgoff_t index, void* expected, gfp_t gfp) {
  (void)expected;
  VM_BUG_ON_FOLIO(!folio_test_swapbacked(folio), folio);
  return __filemap_add_folio(mapping, folio, index, gfp, nullptr);
}

}  // extern "C"
