/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_CONST_H
#define _SIM_LINUX_CONST_H

#include <linux/types.h>

#endif
