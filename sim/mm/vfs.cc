// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/vfs.h"

#include "sim/mm/filemap.h"
#include "sim/mm/hugetlbfs.h"
#include "sim/mm/shmem.h"

namespace sim {
namespace {

unsigned long last_ino;
int live_inodes;
int live_files;

size_t InodeOffset(const struct inode* inode) {
  return inode->i_sb->s_fs_info ? offsetof(hugetlbfs_inode_info, vfs_inode)
                                : kShmemInodeOffset;
}

// evict(): the file system's part, then the inode's own.
void Evict(struct inode* inode) {
  if (inode->i_sb->s_fs_info)
    HugetlbfsEvictInode(inode);
  else
    ShmemEvictInode(inode);
  WARN_ON(inode->i_data.nrpages);
  WARN_ON(!xa_empty(&inode->i_data.i_pages));
  WARN_ON(!list_empty(&inode->i_data.i_mmap));
  live_inodes--;
  struct super_block* sb = inode->i_sb;
  kfree(reinterpret_cast<char*>(inode) - InodeOffset(inode));
  // A mount that a file was all that was left of.
  if (sb->s_fs_info && !(sb->s_flags & SB_KERNMOUNT)) HugetlbfsKillSuper(sb);
}

}  // namespace

void VfsReset() {
  last_ino = 0;
  live_inodes = 0;
  live_files = 0;
}

// Follows new_inode(), inode_init_always() and get_next_ino().
struct inode* NewInode(struct super_block* sb, size_t size, size_t offset,
                       umode_t mode) {
  auto* mem = static_cast<char*>(kzalloc(size, GFP_KERNEL_ACCOUNT));
  if (!mem) return nullptr;
  auto* inode = reinterpret_cast<struct inode*>(mem + offset);
  inode->i_sb = sb;
  inode->i_mode = mode;
  inode->i_nlink = 1;
  inode->i_ino = ++last_ino;
  refcount_set(&inode->i_count, 1);
  sim_spin_lock_init(&inode->i_lock, "inode->i_lock");
  sim_init_rwsem(&inode->i_rwsem, "inode->i_rwsem");
  inode->i_mapping = &inode->i_data;
  inode->i_data.host = inode;
  xa_init(&inode->i_data.i_pages);
  sim_init_rwsem(&inode->i_data.i_mmap_rwsem, "mapping->i_mmap_rwsem");
  INIT_LIST_HEAD(&inode->i_data.i_mmap);
  live_inodes++;
  return inode;
}

// Follows alloc_file_pseudo(); no dentry, no mount, so one allocation.
struct file* AllocFilePseudo(struct inode* inode, unsigned flags,
                             const struct file_operations* fop) {
  auto* file = static_cast<struct file*>(
      kzalloc(sizeof(struct file), GFP_KERNEL_ACCOUNT));
  if (!file) return nullptr;
  file->f_inode = inode;
  file->f_mapping = inode->i_mapping;
  file->f_op = fop;
  file->f_flags = flags;
  file->f_mode = FMODE_READ;
  if (flags & O_RDWR) file->f_mode |= FMODE_WRITE;
  refcount_set(&file->f_ref, 1);
  live_files++;
  return file;
}

struct file* ReopenFile(struct file* file, bool read_only) {
  struct file* copy = AllocFilePseudo(
      file->f_inode, read_only ? file->f_flags & ~O_RDWR : file->f_flags,
      file->f_op);
  if (!copy) return nullptr;
  copy->f_mode |= file->f_mode & (FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE);
  refcount_inc(&file->f_inode->i_count);
  return copy;
}

void IMmapLockWrite(struct address_space* mapping) {
  down_write(&mapping->i_mmap_rwsem);
}

void IMmapUnlockWrite(struct address_space* mapping) {
  up_write(&mapping->i_mmap_rwsem);
}

int MappingMapWritable(struct address_space* mapping) {
  if (mapping->i_mmap_writable < 0) return -EPERM;
  mapping->i_mmap_writable++;
  return 0;
}

void MappingUnmapWritable(struct address_space* mapping) {
  mapping->i_mmap_writable--;
}

int MappingDenyWritable(struct address_space* mapping) {
  if (mapping->i_mmap_writable > 0) return -EBUSY;
  mapping->i_mmap_writable--;
  return 0;
}

void MappingAllowWritable(struct address_space* mapping) {
  mapping->i_mmap_writable++;
}

// Follows do_ftruncate(), do_truncate() and notify_change(). Limits and
// permissions are left out.
int VfsTruncate(struct file* file, loff_t length) {
  struct inode* inode = file_inode(file);
  if (length < 0 || !(file->f_mode & FMODE_WRITE)) return -EINVAL;
  inode_lock(inode);
  const int ret = inode->i_sb->s_fs_info ? HugetlbfsSetattrSize(inode, length)
                                         : ShmemSetattrSize(inode, length);
  inode_unlock(inode);
  return ret;
}

// Follows vfs_fallocate().
int VfsFallocate(struct file* file, int mode, loff_t offset, loff_t len) {
  struct inode* inode = file_inode(file);
  if (offset < 0 || len <= 0) return -EINVAL;
  if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) return -EOPNOTSUPP;
  if ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE))
    return -EOPNOTSUPP;
  if (!(file->f_mode & FMODE_WRITE)) return -EBADF;
  if (offset > MAX_LFS_FILESIZE - len) return -EFBIG;
  return static_cast<int>(inode->i_sb->s_fs_info
                              ? HugetlbfsFallocate(file, mode, offset, len)
                              : ShmemFallocate(file, mode, offset, len));
}

// Follows ksys_lseek() and generic_file_llseek() with SEEK_SET.
loff_t VfsSeek(struct file* file, loff_t offset) {
  if (!(file->f_mode & FMODE_LSEEK)) return -ESPIPE;
  return vfs_setpos(file, offset, MAX_LFS_FILESIZE);
}

int LiveInodes() { return live_inodes; }
int LiveFiles() { return live_files; }

}  // namespace sim

extern "C" {

void inode_lock(struct inode* inode) { down_write(&inode->i_rwsem); }

// Follows inode_trylock().
int inode_trylock(struct inode* inode) {
  return down_write_trylock(&inode->i_rwsem);
}

void inode_unlock(struct inode* inode) { up_write(&inode->i_rwsem); }

void iput(struct inode* inode) {
  if (inode && refcount_dec_and_test(&inode->i_count)) sim::Evict(inode);
}

struct file* get_file(struct file* file) {
  refcount_inc(&file->f_ref);
  return file;
}

// Follows fput() and __fput(): at once, not when the task returns to its
// program.
void fput(struct file* file) {
  if (!refcount_dec_and_test(&file->f_ref)) return;
  struct inode* inode = file->f_inode;
  sim::live_files--;
  kfree(file);
  iput(inode);
}

// Follows vfs_setpos().
loff_t vfs_setpos(struct file* file, loff_t offset, loff_t maxsize) {
  if (offset < 0 || offset > maxsize) return -EINVAL;
  file->f_pos = offset;
  return offset;
}

}  // extern "C"
