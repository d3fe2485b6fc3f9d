/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_PAGE_COUNTER_H
#define _SIM_LINUX_PAGE_COUNTER_H

#include <linux/types.h>
#include <asm/page.h>

/* In base pages, and with what is charged below. */
struct page_counter {
	unsigned long usage;
	unsigned long max;
	struct page_counter *parent;
};

#define PAGE_COUNTER_MAX (0x7fffffffffffffffUL / PAGE_SIZE)

__sim_extern_begin
void page_counter_cancel(struct page_counter *counter, unsigned long nr_pages);
bool page_counter_try_charge(struct page_counter *counter,
			     unsigned long nr_pages,
			     struct page_counter **fail);
void page_counter_uncharge(struct page_counter *counter,
			   unsigned long nr_pages);
int page_counter_set_max(struct page_counter *counter, unsigned long nr_pages);
__sim_extern_end

#endif
