// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_SHMEM_H_
#define SIM_MM_SHMEM_H_

// mm/shmem.c for memfds: single pages in the page cache. Left out: swap, huge
// folios, quotas and limits, accounting of virtual memory, reading and writing
// by system call.

#include <sim/kernel_api.h>

extern "C" {
struct shmem_inode_info {
  unsigned int seals;
  unsigned int flags;
  struct inode vfs_inode;
};

// Follow the functions of the same names, for LUO's handler of shmem memfds.
// inode_lock is held for freezing: a frozen file's size and holes are fixed
// (-EPERM).
void shmem_freeze(struct inode* inode, bool freeze);
int shmem_add_to_page_cache(struct folio* folio, struct address_space* mapping,
                            pgoff_t index, void* expected, gfp_t gfp);
}

namespace sim {

inline constexpr size_t kShmemInodeOffset =
    offsetof(struct shmem_inode_info, vfs_inode);
inline struct shmem_inode_info* ShmemI(struct inode* inode) {
  return container_of(inode, struct shmem_inode_info, vfs_inode);
}
inline unsigned* ShmemSeals(struct inode* inode) {
  return &ShmemI(inode)->seals;
}
bool ShmemFrozen(struct inode* inode);

void ShmemReset();
void ShmemInit();

// shmem_file_setup() with VM_NORESERVE.
struct file* ShmemFileSetup(loff_t size);
void ShmemEvictInode(struct inode* inode);
long ShmemFallocate(struct file* file, int mode, loff_t offset, loff_t len);
// The size part of shmem_setattr(); inode_lock is held.
int ShmemSetattrSize(struct inode* inode, loff_t new_size);
// shmem_read_folio(): the page at index, made if it is not there, with a
// reference for the caller and not locked. ERR_PTR() on failure.
struct folio* ShmemReadFolio(struct address_space* mapping, pgoff_t index);
// shmem_fault(): the same, but locked. -EINVAL: past the end of the file.
struct folio* ShmemFaultFolio(struct inode* inode, pgoff_t index);

}  // namespace sim

#endif  // SIM_MM_SHMEM_H_
