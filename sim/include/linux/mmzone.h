/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MMZONE_H
#define _SIM_LINUX_MMZONE_H

#include <linux/mm_types.h>
#include <linux/spinlock.h>

enum migratetype {
	MIGRATE_UNMOVABLE,
	MIGRATE_MOVABLE,
	MIGRATE_RECLAIMABLE,
	MIGRATE_CMA = 4,
	MIGRATE_ISOLATE,
	MIGRATE_TYPES
};

__sim_extern_begin
/*
 * Geometry is a parameter of the simulated machine: MAX_PAGE_ORDER and the
 * size of a pageblock are variables here.
 */
extern unsigned int sim_max_page_order;
extern unsigned int sim_pageblock_order;
extern unsigned long sim_pages_per_section;

struct mem_section {
	unsigned long section_mem_map;
};

struct mem_section *__pfn_to_section(unsigned long pfn);
int early_section(const struct mem_section *section);
__sim_extern_end

#define MAX_PAGE_ORDER sim_max_page_order
#define MAX_ORDER_NR_PAGES (1UL << sim_max_page_order)
#define pageblock_order sim_pageblock_order
#define pageblock_nr_pages (1UL << sim_pageblock_order)
#define PAGES_PER_SECTION sim_pages_per_section
#define ARCH_LOW_ADDRESS_LIMIT 0xffffffffUL

#endif
