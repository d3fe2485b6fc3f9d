// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_VFS_H_
#define SIM_MM_VFS_H_

// Files and inodes, as little as memfds need: every inode is unlinked and
// lives as long as its files. System calls that do the same for every kind of
// file stand here too, as functions that return 0 or -errno.

#include <sim/kernel_api.h>

namespace sim {

void VfsReset();

// new_inode() of `size` bytes of which the inode lies at `offset`: filled with
// zeros, one reference. nullptr: no memory.
struct inode* NewInode(struct super_block* sb, size_t size, size_t offset,
                       umode_t mode);
// alloc_file_pseudo(): takes over the caller's reference to the inode, if it
// succeeds. nullptr: no memory.
struct file* AllocFilePseudo(struct inode* inode, unsigned flags,
                             const struct file_operations* fop);
// A second open of an inode (as through /proc/self/fd), read only or not.
struct file* ReopenFile(struct file* file, bool read_only);

// i_mmap_lock_write() and its twin.
void IMmapLockWrite(struct address_space* mapping);
void IMmapUnlockWrite(struct address_space* mapping);

// Counting writable shared mappings against F_SEAL_WRITE.
int MappingMapWritable(struct address_space* mapping);  // -EPERM
void MappingUnmapWritable(struct address_space* mapping);
int MappingDenyWritable(struct address_space* mapping);  // -EBUSY
void MappingAllowWritable(struct address_space* mapping);

// --- ftruncate(2), fallocate(2), lseek(2) with SEEK_SET.
int VfsTruncate(struct file* file, loff_t length);
int VfsFallocate(struct file* file, int mode, loff_t offset, loff_t len);
loff_t VfsSeek(struct file* file, loff_t offset);

// Live inodes of this kernel, for leak checks; their numbers are unique in a
// kernel's life.
int LiveInodes();
int LiveFiles();

}  // namespace sim

#endif  // SIM_MM_VFS_H_
