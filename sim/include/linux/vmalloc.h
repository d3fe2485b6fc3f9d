/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_VMALLOC_H
#define _SIM_LINUX_VMALLOC_H

#include <linux/mm.h>

struct vm_struct {
	void *addr;
	unsigned long size;
	unsigned long flags;
	struct page **pages;
	unsigned int page_order;
	unsigned int nr_pages;
};

#define VM_ALLOC 0x00000002
#define VM_ALLOW_HUGE_VMAP 0x00000400

__sim_extern_begin
void *vmalloc(unsigned long size);
void *vzalloc(unsigned long size);
void *vcalloc(size_t n, size_t size);
void vfree(const void *addr);
struct vm_struct *find_vm_area(const void *addr);
/*
 * Maps pages that a former kernel's vmalloc() laid out, in the same order;
 * they must be contiguous. Their references pass to the area.
 */
void *sim_vmap_pages(struct page **pages, unsigned int nr_pages,
		     unsigned long flags);
__sim_extern_end

#endif
