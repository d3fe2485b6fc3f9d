/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_ASM_POSIX_TYPES_H
#define _SIM_ASM_POSIX_TYPES_H

#include <linux/types.h>

#endif
