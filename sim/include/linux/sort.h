/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SORT_H
#define _SIM_LINUX_SORT_H

#include <linux/types.h>

typedef int (*cmp_func_t)(const void *a, const void *b);
typedef void (*swap_func_t)(void *a, void *b, int size);

__sim_extern_begin
/* In place, no allocation, as lib/sort.c. */
void sort(void *base, size_t num, size_t size, cmp_func_t cmp_func,
	  swap_func_t swap_func);
/* The same where it may sleep. */
void sort_nonatomic(void *base, size_t num, size_t size, cmp_func_t cmp_func,
		    swap_func_t swap_func);
__sim_extern_end

#endif
