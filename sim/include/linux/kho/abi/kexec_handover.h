/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_KHO_ABI_KEXEC_HANDOVER_H
#define _SIM_LINUX_KHO_ABI_KEXEC_HANDOVER_H

#include <linux/bits.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/types.h>
#include <asm/page.h>

#define KHO_FDT_COMPATIBLE "kho-v4"
#define KHO_FDT_MEMORY_MAP_PROP_NAME "preserved-memory-map"
#define KHO_SUB_TREE_PROP_NAME "preserved-data"
#define KHO_SUB_TREE_SIZE_PROP_NAME "blob-size"

struct kho_vmalloc_chunk;

struct kho_vmalloc_hdr {
	union {
		u64 phys;
		struct kho_vmalloc_chunk *ptr;
	} next;
};

#define KHO_VMALLOC_SIZE \
	((PAGE_SIZE - sizeof(struct kho_vmalloc_hdr)) / sizeof(u64))

struct kho_vmalloc_chunk {
	struct kho_vmalloc_hdr hdr;
	u64 phys[KHO_VMALLOC_SIZE];
};

struct kho_vmalloc {
	union {
		u64 phys;
		struct kho_vmalloc_chunk *ptr;
	} first;
	unsigned int total_pages;
	unsigned short flags;
	unsigned short order;
};

enum kho_radix_consts {
	KHO_RADIX_KEY_WIDTH = 64 - PAGE_SHIFT + 1,
	KHO_TABLE_SIZE_LOG2 = const_ilog2(PAGE_SIZE / sizeof(phys_addr_t)),
	KHO_BITMAP_SIZE_LOG2 = PAGE_SHIFT + const_ilog2(BITS_PER_BYTE),
	KHO_TREE_MAX_DEPTH =
		DIV_ROUND_UP(KHO_RADIX_KEY_WIDTH - KHO_BITMAP_SIZE_LOG2,
			     KHO_TABLE_SIZE_LOG2) + 1,
};

struct kho_radix_node {
	u64 table[1 << KHO_TABLE_SIZE_LOG2];
};

struct kho_radix_leaf {
	DECLARE_BITMAP(bitmap, 1 << KHO_BITMAP_SIZE_LOG2);
};

#endif
