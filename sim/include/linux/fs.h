/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_FS_H
#define _SIM_LINUX_FS_H

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/xarray.h>

struct super_block {
	unsigned long s_flags;
	void *s_fs_info;
};

#define SB_KERNMOUNT BIT(22)

struct address_space {
	struct inode *host;
	struct xarray i_pages;
	struct rw_semaphore i_mmap_rwsem;
	unsigned long nrpages;
	int i_mmap_writable;		/* < 0: writable mappings denied */
	struct list_head i_mmap;	/* mappings of the simulated processes */
};

struct inode {
	umode_t i_mode;
	unsigned int i_flags;
	struct super_block *i_sb;
	struct address_space *i_mapping;
	unsigned long i_ino;
	unsigned int i_nlink;
	loff_t i_size;
	unsigned long i_blocks;
	spinlock_t i_lock;
	struct rw_semaphore i_rwsem;
	refcount_t i_count;
	struct address_space i_data;
};

#define S_PRIVATE (1 << 9)
#define S_IALLUGO 0007777
#define S_IXUGO 00111
#undef S_IFREG
#define S_IFREG 0100000
#define S_IRWXUGO 00777

struct file_operations {
	unsigned int fop_flags;
};

#define FOP_HUGE_PAGES BIT(4)

struct file {
	struct inode *f_inode;
	struct address_space *f_mapping;
	const struct file_operations *f_op;
	fmode_t f_mode;
	unsigned int f_flags;
	loff_t f_pos;
	refcount_t f_ref;
	void *private_data;
};

#define FMODE_READ 0x1u
#define FMODE_WRITE 0x2u
#define FMODE_LSEEK 0x4u
#define FMODE_PREAD 0x8u
#define FMODE_PWRITE 0x10u
#undef O_RDWR
#define O_RDWR 02
#undef O_LARGEFILE
#define O_LARGEFILE 0100000
#define MAX_LFS_FILESIZE 0x7fffffffffffffffLL

__sim_extern_begin
void inode_lock(struct inode *inode);
int inode_trylock(struct inode *inode);
void inode_unlock(struct inode *inode);
void iput(struct inode *inode);
void fput(struct file *file);
struct file *get_file(struct file *file);
loff_t vfs_setpos(struct file *file, loff_t offset, loff_t maxsize);
__sim_extern_end

static inline struct inode *file_inode(const struct file *f)
{
	return f->f_inode;
}

static inline loff_t i_size_read(const struct inode *inode)
{
	return inode->i_size;
}

static inline void i_size_write(struct inode *inode, loff_t size)
{
	inode->i_size = size;
}

#endif
