/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_JHASH_H
#define _SIM_LINUX_JHASH_H

#include <linux/types.h>

__sim_extern_begin
/*
 * Bob Jenkins' lookup3 over @length words, as lib's jhash2(): the table's
 * checksum has to come out the same in every kernel.
 */
u32 jhash2(const u32 *k, u32 length, u32 initval);
__sim_extern_end

#endif
