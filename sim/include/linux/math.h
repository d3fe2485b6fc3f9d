/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MATH_H
#define _SIM_LINUX_MATH_H

#include <linux/types.h>

#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
/* As do_div(): of the divisor no more than 32 bits count. */
#define DIV_ROUND_UP_ULL(n, d) \
  (((unsigned long long)(n) + (d) - 1) / (__u32)(d))
#define round_up(x, y) ((((x) - 1) | ((__typeof__(x))((y) - 1))) + 1)
#define round_down(x, y) ((x) & ~((__typeof__(x))((y) - 1)))

#endif
