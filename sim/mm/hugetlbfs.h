// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLBFS_H_
#define SIM_MM_HUGETLBFS_H_

// fs/hugetlbfs/inode.c, for files of the internal mounts, and of mounts that
// have one file each: no directories, no read().

#include <sim/kernel_api.h>

namespace sim {

void HugetlbfsReset();

// The inode operations, called by vfs.cc.
void HugetlbfsEvictInode(struct inode* inode);
long HugetlbfsFallocate(struct file* file, int mode, loff_t offset, loff_t len);
// The size part of hugetlbfs_setattr(); inode_lock is held.
int HugetlbfsSetattrSize(struct inode* inode, loff_t new_size);
// mount() with pagesize=, size= and min_size= (in pages; -1: none), open() with
// O_CREAT, and umount2() with MNT_DETACH: the mount ends with the file.
struct file* HugetlbfsMountFile(uint64_t page_size, long most, long least,
                                bool unlinked);
// The file system of an inode that is gone.
void HugetlbfsKillSuper(struct super_block* sb);
int HugetlbfsFileMmap(struct file* file, struct vm_area_struct* vma);

}  // namespace sim

#endif  // SIM_MM_HUGETLBFS_H_
