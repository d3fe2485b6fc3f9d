/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_IO_H
#define _SIM_LINUX_IO_H

#include <asm/page.h>
#include <linux/pfn.h>

#endif
