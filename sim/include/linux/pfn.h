/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_PFN_H
#define _SIM_LINUX_PFN_H

#include <asm/page.h>

#define PFN_PHYS(pfn) ((phys_addr_t)(pfn) << PAGE_SHIFT)
#define PHYS_PFN(phys) ((unsigned long)((phys) >> PAGE_SHIFT))
#define PFN_UP(x) (((x) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define PFN_DOWN(x) ((x) >> PAGE_SHIFT)

#endif
