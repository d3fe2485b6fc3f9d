/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MM_TYPES_H
#define _SIM_LINUX_MM_TYPES_H

#include <linux/list.h>
#include <linux/atomic.h>
#include <linux/nodemask.h>
#include <linux/rwsem.h>
#include <linux/xarray.h>
#include <asm/page.h>

struct address_space;
struct hugepage_subpool;
struct hugetlb_cgroup;
struct obj_cgroup;
struct mm_struct;
struct file;
struct inode;

/*
 * One per page frame, 64 bytes as in the kernel. A folio overlays its first
 * page's struct page and, where it has them, the two after it.
 */
struct page {
	unsigned long flags;		/* PG_*, and the node in the top byte */
	union {
		struct list_head lru;
		struct {
			unsigned long compound_head;	/* bit 0: tail page */
			unsigned long compound_pad;
		};
	};
	struct address_space *mapping;
	pgoff_t index;
	unsigned long private;
	atomic_t _mapcount;		/* number of mappings, starts at 0 */
	atomic_t _refcount;
	struct obj_cgroup *objcg;
};

struct folio {
	unsigned long flags;
	struct list_head lru;
	struct address_space *mapping;
	pgoff_t index;
	void *private;
	atomic_t _mapcount;
	atomic_t _refcount;
	struct obj_cgroup *objcg;

	/* the first tail page */
	unsigned long _flags_1;
	unsigned long _head_1;		/* compound_head of that tail */
	unsigned long _head_1_pad;
	unsigned int _order;		/* of the whole folio */
	atomic_t _pincount;
	unsigned long _rest_1[4];

	/* the second tail page */
	unsigned long _flags_2;
	unsigned long _head_2;
	unsigned long _head_2_pad;
	struct hugepage_subpool *_hugetlb_subpool;
	struct hugetlb_cgroup *_hugetlb_cgroup;
	struct hugetlb_cgroup *_hugetlb_cgroup_rsvd;
	void *_hugetlb_hwpoison;
	unsigned long _rest_2[1];
};

static_assert(sizeof(struct page) == 64, "page");
static_assert(sizeof(struct folio) == 3 * sizeof(struct page), "folio");

typedef struct { unsigned long bits; } vma_flags_t;
typedef unsigned long vm_flags_t;

#define VM_READ 0x1UL
#define VM_WRITE 0x2UL
#define VM_SHARED 0x8UL
#define VM_MAYWRITE 0x20UL
#define VM_MAYSHARE 0x80UL
#define VM_NORESERVE 0x200000UL
#define VM_HUGETLB 0x400000UL

enum {
	VMA_READ_BIT = 0,
	VMA_WRITE_BIT = 1,
	VMA_SHARED_BIT = 3,
	VMA_MAYSHARE_BIT = 7,
	VMA_NORESERVE_BIT = 21,
};

#define EMPTY_VMA_FLAGS ((vma_flags_t){ 0 })

static inline vma_flags_t sim_mk_vma_flags(unsigned int bit)
{
	vma_flags_t f = { 1UL << bit };

	return f;
}
#define mk_vma_flags(bit) sim_mk_vma_flags(bit)

static inline bool vma_flags_test(const vma_flags_t *f, unsigned int bit)
{
	return (f->bits >> bit) & 1;
}

/* The simulated process's mapping; page tables are a table of folios. */
struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	struct mm_struct *vm_mm;
	vm_flags_t vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
	void *vm_private_data;
	void *sim_mapping;	/* the C++ side's page table of this mapping */
};

#endif
