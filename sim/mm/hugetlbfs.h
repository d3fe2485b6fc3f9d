// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_HUGETLBFS_H_
#define SIM_MM_HUGETLBFS_H_

// fs/hugetlbfs/inode.c, for files of the internal mounts: no names, no
// directories, no read(), no mount options.

#include <sim/kernel_api.h>

namespace sim {

void HugetlbfsReset();

// The inode operations, called by vfs.cc.
void HugetlbfsEvictInode(struct inode* inode);
long HugetlbfsFallocate(struct file* file, int mode, loff_t offset, loff_t len);
// The size part of hugetlbfs_setattr(); inode_lock is held.
int HugetlbfsSetattrSize(struct inode* inode, loff_t new_size);
int HugetlbfsFileMmap(struct file* file, struct vm_area_struct* vma);

}  // namespace sim

#endif  // SIM_MM_HUGETLBFS_H_
