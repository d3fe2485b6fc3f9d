/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MEMBLOCK_H
#define _SIM_LINUX_MEMBLOCK_H

#include <linux/mm.h>

enum memblock_flags {
	MEMBLOCK_NONE = 0x0,
	MEMBLOCK_HOTPLUG = 0x1,
	MEMBLOCK_MIRROR = 0x2,
	MEMBLOCK_NOMAP = 0x4,
	MEMBLOCK_DRIVER_MANAGED = 0x8,
	MEMBLOCK_RSRV_NOINIT = 0x10,
	MEMBLOCK_RSRV_KERN = 0x20,
	MEMBLOCK_KHO_SCRATCH = 0x40,
	MEMBLOCK_RSRV_HUGETLB = 0x80,
};

#define MEMBLOCK_ALLOC_ANYWHERE (~(phys_addr_t)0)
#define MEMBLOCK_ALLOC_ACCESSIBLE 0

#ifndef __cplusplus
#define max_pfn sim_max_pfn
#endif

__sim_extern_begin
int memblock_add(phys_addr_t base, phys_addr_t size);
int memblock_add_node(phys_addr_t base, phys_addr_t size, int nid,
		      enum memblock_flags flags);
int memblock_reserve(phys_addr_t base, phys_addr_t size);
int memblock_set_node(phys_addr_t base, phys_addr_t size, int nid);
int memblock_phys_free(phys_addr_t base, phys_addr_t size);
void memblock_free(void *ptr, size_t size);
int memblock_mark_kho_scratch(phys_addr_t base, phys_addr_t size);
int memblock_clear_kho_scratch(phys_addr_t base, phys_addr_t size);
int memblock_reserved_mark_noinit(phys_addr_t base, phys_addr_t size);
void memblock_set_kho_scratch_only(void);
void memblock_clear_kho_scratch_only(void);
void memblock_set_bottom_up(bool enable);
bool memblock_bottom_up(void);
void *memblock_alloc(phys_addr_t size, phys_addr_t align);
void *memblock_alloc_hugetlb(phys_addr_t size, int nid, bool exact_nid);
phys_addr_t memblock_phys_alloc(phys_addr_t size, phys_addr_t align);
phys_addr_t memblock_phys_alloc_range(phys_addr_t size, phys_addr_t align,
				      phys_addr_t start, phys_addr_t end);
phys_addr_t memblock_alloc_range_nid(phys_addr_t size, phys_addr_t align,
				     phys_addr_t start, phys_addr_t end,
				     int nid, bool exact_nid);
phys_addr_t memblock_reserved_kern_size(phys_addr_t limit, int nid);
phys_addr_t memblock_reserved_hugetlb_size(phys_addr_t limit, int nid);
bool memblock_is_reserved(phys_addr_t addr);
bool memblock_is_memory(phys_addr_t addr);
bool memblock_is_region_memory(phys_addr_t base, phys_addr_t size);
bool memblock_is_region_reserved(phys_addr_t base, phys_addr_t size);
phys_addr_t memblock_end_of_DRAM(void);
phys_addr_t memblock_phys_mem_size(void);
int early_pfn_to_nid(unsigned long pfn);
int memblock_search_pfn_nid(unsigned long pfn, unsigned long *start_pfn,
			    unsigned long *end_pfn);
void __next_mem_pfn_range(int *idx, int nid, unsigned long *out_start_pfn,
			  unsigned long *out_end_pfn, int *out_nid);
void memblock_free_all(void);
__sim_extern_end

#define for_each_mem_pfn_range(i, nid, p_start, p_end, p_nid)                 \
	for (i = -1, __next_mem_pfn_range(&i, nid, p_start, p_end, p_nid);    \
	     i >= 0; __next_mem_pfn_range(&i, nid, p_start, p_end, p_nid))

#endif
