/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
#ifndef _LINUX_HUGETLB_LUO_H
#define _LINUX_HUGETLB_LUO_H

#include <linux/errno.h>
#include <linux/hugetlb.h>
#include <linux/pagemap.h>
#include <linux/types.h>

/*
 * What HugeTLB, hugetlbfs and LUO ask of the live update support in
 * mm/hugetlb_luo*.c.
 */

#ifdef CONFIG_LIVEUPDATE_HUGETLB

/* Boot: sizing of the pools around the pages that are handed over. */
void hugetlb_luo_boot_init(void);
void hugetlb_luo_boot_begin(struct hstate *h);
bool hugetlb_luo_boot_more(struct hstate *h);
void hugetlb_luo_boot_end(struct hstate *h);
void hugetlb_luo_import(void);

/* Files that are being preserved. */
int hugetlb_luo_add_folio(struct address_space *mapping, struct folio *folio,
			  pgoff_t idx);
int hugetlb_luo_may_resize(struct inode *inode);
int hugetlb_luo_may_reserve(struct inode *inode, long chg);
int hugetlb_luo_may_seal(struct file *file);

/* Free pages: what sysfs shows and sets. */
bool hugetlb_luo_preserves_free(struct hstate *h);
int hugetlb_luo_set_preserve_free(struct hstate *h, bool on);

/* Memory errors. */
void hugetlb_luo_error(struct page *page, unsigned long nr);

/* The reboot path. */
int hugetlb_luo_reboot(void);
void hugetlb_luo_hand_over_free(void);

#else /* CONFIG_LIVEUPDATE_HUGETLB */

static inline void hugetlb_luo_boot_init(void)
{
}

static inline void hugetlb_luo_boot_begin(struct hstate *h)
{
}

static inline bool hugetlb_luo_boot_more(struct hstate *h)
{
	return false;
}

static inline void hugetlb_luo_boot_end(struct hstate *h)
{
}

static inline void hugetlb_luo_import(void)
{
}

static inline int hugetlb_luo_add_folio(struct address_space *mapping,
					struct folio *folio, pgoff_t idx)
{
	return __filemap_add_folio(mapping, folio, idx, GFP_KERNEL, NULL);
}

static inline int hugetlb_luo_may_resize(struct inode *inode)
{
	return 0;
}

static inline int hugetlb_luo_may_reserve(struct inode *inode, long chg)
{
	return 0;
}

static inline int hugetlb_luo_may_seal(struct file *file)
{
	return 0;
}

static inline void hugetlb_luo_error(struct page *page, unsigned long nr)
{
}

static inline int hugetlb_luo_reboot(void)
{
	return 0;
}

static inline void hugetlb_luo_hand_over_free(void)
{
}

#endif /* CONFIG_LIVEUPDATE_HUGETLB */

#endif /* _LINUX_HUGETLB_LUO_H */
