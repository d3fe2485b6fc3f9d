/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_STRING_HELPERS_H
#define _SIM_LINUX_STRING_HELPERS_H

#include <linux/string.h>

enum string_size_units {
	STRING_UNITS_10,
	STRING_UNITS_2,
};

__sim_extern_begin
int string_get_size(u64 size, u64 blk_size,
		    const enum string_size_units units, char *buf, int len);
__sim_extern_end

#endif
