/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MM_H
#define _SIM_LINUX_MM_H

#include <linux/kernel.h>
#include <linux/gfp.h>
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include <linux/pfn.h>
#include <linux/rcupdate.h>
#include <linux/io.h>
#include <linux/sizes.h>

__sim_extern_begin
extern struct page *sim_mem_map;	/* indexed by frame number */
extern unsigned long sim_max_pfn;

/* NULL for a frame number that lies in a hole or past the end. */
struct page *pfn_to_online_page(unsigned long pfn);
bool pfn_valid(unsigned long pfn);
int pfn_to_nid(unsigned long pfn);

void folio_put(struct folio *folio);
void folio_put_refs(struct folio *folio, int refs);
void folio_get(struct folio *folio);
bool folio_try_get(struct folio *folio);
void folio_lock(struct folio *folio);
int folio_trylock(struct folio *folio);
void folio_unlock(struct folio *folio);
bool folio_mark_dirty(struct folio *folio);
void folio_clear_dirty_sim(struct folio *folio);
void unpin_folio(struct folio *folio);
void unpin_folios(struct folio **folios, unsigned long nfolios);
bool folio_maybe_dma_pinned(struct folio *folio);
bool folio_is_longterm_pinnable(struct folio *folio);
long memfd_pin_folios(struct file *memfd, loff_t start, loff_t end,
		      struct folio **folios, unsigned int max_folios,
		      pgoff_t *offset);
void folio_zero_user(struct folio *folio, unsigned long addr_hint);
int memory_failure(unsigned long pfn, int flags);
void num_poisoned_pages_inc(unsigned long pfn);
void prep_compound_page(struct page *page, unsigned int order);
void adjust_managed_page_count(struct page *page, long count);
unsigned long totalram_pages(void);
__sim_extern_end

enum mf_flags {
	MF_COUNT_INCREASED = 1 << 0,
	MF_SW_SIMULATED = 1 << 5,
};

#define pfn_to_page(pfn) (&sim_mem_map[pfn])
#define page_to_pfn(page) ((unsigned long)((page) - sim_mem_map))
#define virt_to_page(addr) pfn_to_page(__pa(addr) >> PAGE_SHIFT)
#define page_to_phys(page) PFN_PHYS(page_to_pfn(page))
#define page_address(page) __va(page_to_phys(page))

static inline struct folio *page_folio(struct page *page)
{
	sim_page_access(page);
	if (page->compound_head & 1)
		return (struct folio *)(page->compound_head - 1);
	return (struct folio *)page;
}

static inline struct page *folio_page(struct folio *folio, unsigned long n)
{
	return (struct page *)folio + n;
}

static inline unsigned long folio_pfn(const struct folio *folio)
{
	return page_to_pfn((const struct page *)folio);
}

static inline struct folio *pfn_folio(unsigned long pfn)
{
	return page_folio(pfn_to_page(pfn));
}

static inline struct folio *virt_to_folio(const void *x)
{
	return page_folio(virt_to_page(x));
}

static inline void *folio_address(const struct folio *folio)
{
	return __va(PFN_PHYS(folio_pfn(folio)));
}

static inline int page_to_nid(const struct page *page)
{
	sim_page_access(page);
	return (int)(page->flags >> SIM_NODE_SHIFT);
}

static inline int folio_nid(const struct folio *folio)
{
	sim_page_access(folio);
	return (int)(folio->flags >> SIM_NODE_SHIFT);
}

static inline unsigned int folio_order(const struct folio *folio)
{
	return folio_test_large(folio) ? folio->_order : 0;
}

static inline unsigned long folio_nr_pages(const struct folio *folio)
{
	return 1L << folio_order(folio);
}

static inline size_t folio_size(const struct folio *folio)
{
	return PAGE_SIZE << folio_order(folio);
}

static inline int folio_mapcount(const struct folio *folio)
{
	sim_page_access(folio);
	return folio->_mapcount.counter;
}

static inline bool folio_mapped(const struct folio *folio)
{
	sim_page_access(folio);
	return folio->_mapcount.counter > 0;
}

/* Of a private mapping: bit 0 of its mapping is set. */
static inline bool folio_test_anon(const struct folio *folio)
{
	sim_page_access(folio);
	return (unsigned long)folio->mapping & 1;
}

/* The references that page cache and mappings account for. */
static inline int folio_expected_ref_count(const struct folio *folio)
{
	int refs = folio_mapcount(folio);

	if (folio->mapping && !folio_test_anon(folio))
		refs += (int)folio_nr_pages(folio);
	return refs;
}

static inline int get_order(unsigned long size)
{
	return size <= PAGE_SIZE ? 0 :
		64 - __builtin_clzl((size - 1) >> PAGE_SHIFT);
}

#define PAGE_ALIGN(addr) ALIGN(addr, PAGE_SIZE)

#ifndef __cplusplus
#define offset_in_page(p) ((unsigned long)(p) & ~PAGE_MASK)
#endif

#endif
