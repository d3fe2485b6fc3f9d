/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_COMPILER_TYPES_H
#define _SIM_LINUX_COMPILER_TYPES_H

#include <linux/compiler.h>

#endif
