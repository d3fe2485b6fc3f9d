/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_LOG2_H
#define _SIM_LINUX_LOG2_H

#include <linux/types.h>

#define const_ilog2(n) (63 - __builtin_clzll((unsigned long long)(n)))
#define ilog2(n) const_ilog2(n)
#define order_base_2(n) ((n) > 1 ? ilog2((n) - 1) + 1 : 0)

static inline bool is_power_of_2(unsigned long n)
{
	return n && !(n & (n - 1));
}

#endif
