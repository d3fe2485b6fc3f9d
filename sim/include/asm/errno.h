/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_ASM_ERRNO_H
#define _SIM_ASM_ERRNO_H

#include <linux/errno.h>

#endif
