/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_KHO_ABI_BLOCK_H
#define _SIM_LINUX_KHO_ABI_BLOCK_H

#include <asm/page.h>
#include <linux/types.h>

#define KHO_BLOCK_SIZE PAGE_SIZE

struct kho_block_header_ser {
	u64 next;
	u64 count;
} __packed;

#endif
