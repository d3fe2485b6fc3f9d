/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_BITS_H
#define _SIM_LINUX_BITS_H

#include <linux/types.h>

#define BIT(nr) (1UL << (nr))
#define BIT_ULL(nr) (1ULL << (nr))
#define GENMASK(h, l) ((~0UL << (l)) & (~0UL >> (BITS_PER_LONG - 1 - (h))))

#endif
