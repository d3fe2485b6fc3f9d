/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_HUGETLB_H
#define _SIM_LINUX_HUGETLB_H

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/pagemap.h>
#include <linux/cgroup.h>
#include <linux/page_counter.h>
#include <linux/vmstat.h>
#include <linux/bits.h>

struct hugetlb_luo_file;

struct hugepage_subpool {
	spinlock_t lock;
	long count;
	long max_hpages;
	long used_hpages;
	struct hstate *hstate;
	long min_hpages;
	long rsv_hpages;
};

struct resv_map {
	struct kref refs;
	spinlock_t lock;
	struct list_head regions;
	long adds_in_progress;
	struct list_head region_cache;
	long region_cache_count;
	struct rw_semaphore rw_sema;
#ifdef CONFIG_CGROUP_HUGETLB
	/* Of a private mapping, which has one charge for all. */
	struct page_counter *reservation_counter;
	unsigned long pages_per_hpage;
	struct cgroup_subsys_state *css;
#endif
};

/* [from, to) in huge pages of the file. */
struct file_region {
	struct list_head link;
	long from;
	long to;
#ifdef CONFIG_CGROUP_HUGETLB
	struct page_counter *reservation_counter;
	struct cgroup_subsys_state *css;
#endif
};

#define HSTATE_NAME_LEN 32
#define HUGE_MAX_HSTATE 4

struct hstate {
	struct mutex resize_lock;
	int next_nid_to_alloc;
	int next_nid_to_free;
	unsigned int order;
	unsigned int demote_order;
	unsigned long mask;
	unsigned long max_huge_pages;
	unsigned long nr_huge_pages;
	unsigned long free_huge_pages;
	unsigned long resv_huge_pages;
	unsigned long surplus_huge_pages;
	unsigned long nr_overcommit_huge_pages;
	struct list_head hugepage_activelist;
	struct list_head hugepage_freelists[MAX_NUMNODES];
	unsigned int max_huge_pages_node[MAX_NUMNODES];
	unsigned int nr_huge_pages_node[MAX_NUMNODES];
	unsigned int free_huge_pages_node[MAX_NUMNODES];
	unsigned int surplus_huge_pages_node[MAX_NUMNODES];
	char name[HSTATE_NAME_LEN];
};

struct hugetlbfs_sb_info {
	struct hstate *hstate;
	struct hugepage_subpool *spool;
};

struct hugetlbfs_inode_info {
	struct inode vfs_inode;
	struct resv_map *resv_map;
	unsigned int seals;
#ifdef CONFIG_LIVEUPDATE_HUGETLB
	/* HOOK(include/linux/hugetlb.h, struct hugetlbfs_inode_info): hugetlb_luo_file */
	struct hugetlb_luo_file *luo_file;
#endif
};

#define HUGETLB_SHMFS_INODE 1
#define HUGETLB_ANONHUGE_INODE 2

enum hugetlb_page_flags {
	HPG_restore_reserve = 0,
	HPG_migratable,
	HPG_temporary,
	HPG_freed,
	HPG_vmemmap_optimized,
	HPG_raw_hwp_unreliable,
	HPG_cma,
	__NR_HPAGEFLAGS,
};

#define __SIM_HPAGE_FLAG(flname) \
static inline bool folio_test_hugetlb_##flname(struct folio *folio) \
{ \
	return (*(unsigned long *)(void *)((char *)folio + \
		offsetof(struct folio, mapping) + 16) >> HPG_##flname) & 1; \
} \
static inline void folio_set_hugetlb_##flname(struct folio *folio) \
{ \
	*(unsigned long *)(void *)((char *)folio + \
		offsetof(struct folio, mapping) + 16) |= 1UL << HPG_##flname; \
} \
static inline void folio_clear_hugetlb_##flname(struct folio *folio) \
{ \
	*(unsigned long *)(void *)((char *)folio + \
		offsetof(struct folio, mapping) + 16) &= \
		~(1UL << HPG_##flname); \
}

__SIM_HPAGE_FLAG(restore_reserve)
__SIM_HPAGE_FLAG(migratable)
__SIM_HPAGE_FLAG(temporary)
__SIM_HPAGE_FLAG(freed)
__SIM_HPAGE_FLAG(vmemmap_optimized)
__SIM_HPAGE_FLAG(raw_hwp_unreliable)
__SIM_HPAGE_FLAG(cma)

__sim_extern_begin
extern spinlock_t hugetlb_lock;
extern int hugetlb_max_hstate;
extern unsigned int default_hstate_idx;
extern struct hstate hstates[HUGE_MAX_HSTATE];

struct hstate *size_to_hstate(unsigned long size);
void free_huge_folio(struct folio *folio);
int hugetlb_add_to_page_cache(struct folio *folio,
			      struct address_space *mapping, pgoff_t idx);
long hugetlb_reserve_pages(struct inode *inode, long from, long to,
			   struct vm_area_struct *vma, vma_flags_t vma_flags);
long hugetlb_unreserve_pages(struct inode *inode, long start, long end,
			     long freed);
bool is_file_hugepages(const struct file *file);
struct file *hugetlb_file_setup(const char *name, size_t size,
				vma_flags_t acct, int creat_flags,
				int page_size_log);
struct resv_map *resv_map_alloc(void);
void resv_map_release(struct kref *ref);
struct folio *alloc_hugetlb_folio(struct vm_area_struct *vma,
				  unsigned long addr, bool cow_from_owner);
struct folio *alloc_hugetlb_folio_nodemask(struct hstate *h, int preferred_nid,
					   nodemask_t *nmask, gfp_t gfp_mask,
					   bool allow_alloc_fallback);
struct folio *alloc_hugetlb_folio_reserve(struct hstate *h, int preferred_nid,
					  nodemask_t *nmask, gfp_t gfp_mask);
void restore_reserve_on_error(struct hstate *h, struct vm_area_struct *vma,
			      unsigned long address, struct folio *folio);
bool folio_isolate_hugetlb(struct folio *folio, struct list_head *list);
void folio_putback_hugetlb(struct folio *folio);
u32 hugetlb_fault_mutex_hash(struct address_space *mapping, pgoff_t idx);
extern struct mutex *hugetlb_fault_mutex_table;
void hugetlb_add_hstate(unsigned int order);
/* HOOK(include/linux/hugetlb.h, folio_set_hugetlb_hwpoison): folio_set_hugetlb_hwpoison */
void folio_set_hugetlb_hwpoison(struct folio *folio);
bool is_raw_hwpoison_page_in_hugepage(struct page *page);
__sim_extern_end

#define default_hstate (hstates[default_hstate_idx])
#define for_each_hstate(h) \
	for ((h) = hstates; (h) < &hstates[hugetlb_max_hstate]; (h)++)

static inline struct hugetlbfs_inode_info *HUGETLBFS_I(struct inode *inode)
{
	return container_of(inode, struct hugetlbfs_inode_info, vfs_inode);
}

static inline struct hugetlbfs_sb_info *HUGETLBFS_SB(struct super_block *sb)
{
	return (struct hugetlbfs_sb_info *)sb->s_fs_info;
}

static inline struct hstate *hstate_inode(struct inode *i)
{
	return HUGETLBFS_SB(i->i_sb)->hstate;
}

static inline struct hstate *hstate_file(struct file *f)
{
	return hstate_inode(file_inode(f));
}

static inline struct hugepage_subpool *subpool_inode(struct inode *inode)
{
	return HUGETLBFS_SB(inode->i_sb)->spool;
}

static inline unsigned long huge_page_size(const struct hstate *h)
{
	return PAGE_SIZE << h->order;
}

static inline unsigned long huge_page_mask(struct hstate *h)
{
	return h->mask;
}

static inline unsigned int huge_page_order(struct hstate *h)
{
	return h->order;
}

static inline unsigned int huge_page_shift(struct hstate *h)
{
	return h->order + PAGE_SHIFT;
}

static inline unsigned int pages_per_huge_page(const struct hstate *h)
{
	return 1U << h->order;
}

static inline unsigned int blocks_per_huge_page(struct hstate *h)
{
	return huge_page_size(h) / 512;
}

static inline int hstate_index(struct hstate *h)
{
	return h - hstates;
}

static inline bool order_is_gigantic(unsigned int order)
{
	return order > MAX_PAGE_ORDER;
}

static inline bool hstate_is_gigantic(struct hstate *h)
{
	return order_is_gigantic(huge_page_order(h));
}

static inline struct hstate *folio_hstate(struct folio *folio)
{
	VM_BUG_ON_FOLIO(!folio_test_hugetlb(folio), folio);
	return size_to_hstate(folio_size(folio));
}

static inline void hugetlb_set_folio_subpool(struct folio *folio,
					     struct hugepage_subpool *subpool)
{
	folio->_hugetlb_subpool = subpool;
}

static inline gfp_t htlb_alloc_mask(struct hstate *h)
{
	(void)h;
	return __GFP_COMP | __GFP_NOWARN | GFP_HIGHUSER_MOVABLE;
}

static inline struct folio *filemap_lock_hugetlb_folio(struct hstate *h,
						       struct address_space *mapping,
						       pgoff_t idx)
{
	return filemap_lock_folio(mapping, idx << huge_page_order(h));
}

#endif
