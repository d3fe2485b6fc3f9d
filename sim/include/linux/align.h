/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_ALIGN_H
#define _SIM_LINUX_ALIGN_H

#include <linux/types.h>

#define ALIGN(x, a) (((x) + (__typeof__(x))(a) - 1) & ~((__typeof__(x))(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a) - 1)) == 0)

#endif
