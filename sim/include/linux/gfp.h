/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_GFP_H
#define _SIM_LINUX_GFP_H

#include <linux/gfp_types.h>
#include <linux/mmzone.h>

__sim_extern_begin
unsigned long get_zeroed_page(gfp_t gfp);
void free_page(unsigned long addr);
struct folio *folio_alloc(gfp_t gfp, unsigned int order);
struct page *sim_alloc_pages_node(int nid, gfp_t gfp, unsigned int order,
				  const nodemask_t *nodes);
/* Frozen pages have a reference count of zero; nid may be NUMA_NO_NODE. */
struct page *sim_alloc_frozen_pages(gfp_t gfp, unsigned int order, int nid,
				    const nodemask_t *nodes);
void free_frozen_pages(struct page *page, unsigned int order);
void __free_pages(struct page *page, unsigned int order);
struct page *alloc_contig_frozen_pages(unsigned long nr_pages, gfp_t gfp,
				       int nid, nodemask_t *nodemask);
void free_contig_frozen_range(unsigned long pfn, unsigned long nr_pages);
void init_cma_reserved_pageblock(struct page *page);
unsigned long free_reserved_area(void *start, void *end, int poison,
				 const char *s);
/* PF_MEMALLOC_PIN of the running task: no movable allocation is placed in CMA. */
unsigned int memalloc_pin_save(void);
void memalloc_pin_restore(unsigned int flags);
bool sim_memalloc_pin(void);
__sim_extern_end

#endif
