/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_BUILD_BUG_H
#define _SIM_LINUX_BUILD_BUG_H

#include <linux/compiler.h>

#ifndef __cplusplus
#define static_assert(expr, ...) _Static_assert(expr, #expr)
#endif
#define BUILD_BUG_ON(cond) \
	do { (void)sizeof(char[1 - 2 * !!(cond)]); } while (0)

#endif
