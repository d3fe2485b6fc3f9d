/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_STDDEF_H
#define _SIM_LINUX_STDDEF_H

#include <linux/types.h>

#endif
