/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_PAGE_FLAGS_H
#define _SIM_LINUX_PAGE_FLAGS_H

#include <linux/mm_types.h>
#include <linux/mmdebug.h>

enum pageflags {
	PG_locked,
	PG_uptodate,
	PG_dirty,
	PG_head,
	PG_reserved,
	PG_hwpoison,
	PG_hugetlb,		/* a page type in the kernel */
	PG_buddy,		/* a page type in the kernel */
	PG_slab,		/* a page type in the kernel */
	PG_swapbacked,
	__NR_PAGEFLAGS,
};

#define SIM_NODE_SHIFT 56

/*
 * What a struct page holds that nobody initialised, as with page_init_poison().
 * The kernel looks for it with CONFIG_DEBUG_VM_PGFLAGS; see sim/mm/memmap.h.
 */
#define PAGE_POISON_PATTERN	-1l

__sim_extern_begin
/* Struct pages of memory that are still to be initialised. */
extern unsigned long sim_uninit_pages;
void sim_check_uninit(const void *page);
__sim_extern_end

/* For each access to a struct page, or to a folio, that may be one of these. */
static inline void sim_page_access(const void *page)
{
	if (unlikely(sim_uninit_pages ||
		     *(const unsigned long *)page ==
			(unsigned long)PAGE_POISON_PATTERN))
		sim_check_uninit(page);
}

#define __SIM_FOLIO_FLAG(name, bit) \
static inline bool folio_test_##name(const struct folio *folio) \
{ \
	sim_page_access(folio); \
	return (folio->flags >> (bit)) & 1; \
} \
static inline void folio_set_##name(struct folio *folio) \
{ \
	sim_page_access(folio); \
	folio->flags |= 1UL << (bit); \
} \
static inline void folio_clear_##name(struct folio *folio) \
{ \
	sim_page_access(folio); \
	folio->flags &= ~(1UL << (bit)); \
}

__SIM_FOLIO_FLAG(locked, PG_locked)
__SIM_FOLIO_FLAG(uptodate, PG_uptodate)
__SIM_FOLIO_FLAG(dirty, PG_dirty)
__SIM_FOLIO_FLAG(large, PG_head)
__SIM_FOLIO_FLAG(reserved, PG_reserved)
__SIM_FOLIO_FLAG(hwpoison, PG_hwpoison)
__SIM_FOLIO_FLAG(hugetlb, PG_hugetlb)
__SIM_FOLIO_FLAG(swapbacked, PG_swapbacked)

/* Of a base page, see sim/mm/memory_failure.cc. */
static inline int PageHWPoison(const struct page *page)
{
	sim_page_access(page);
	return (page->flags >> PG_hwpoison) & 1;
}

static inline int PageReserved(const struct page *page)
{
	sim_page_access(page);
	return (page->flags >> PG_reserved) & 1;
}

__sim_extern_begin
void SetPageHWPoison(struct page *page);
__sim_extern_end

static inline void folio_mark_uptodate(struct folio *folio)
{
	folio_set_uptodate(folio);
}

static inline void __folio_mark_uptodate(struct folio *folio)
{
	folio_set_uptodate(folio);
}

static inline void __folio_set_hugetlb(struct folio *folio)
{
	folio_set_hugetlb(folio);
}

static inline void __folio_clear_hugetlb(struct folio *folio)
{
	folio_clear_hugetlb(folio);
}

static inline void __folio_set_locked(struct folio *folio)
{
	folio_set_locked(folio);
}

static inline void __folio_clear_locked(struct folio *folio)
{
	folio_clear_locked(folio);
}

#endif
