/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_ASM_PAGE_H
#define _SIM_ASM_PAGE_H

#include <linux/types.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))

__sim_extern_begin
/* The direct map: simulated physical memory lies at one host address. */
extern char *sim_direct_map;
extern phys_addr_t sim_phys_end;
void *sim_phys_to_virt(phys_addr_t phys);
phys_addr_t sim_virt_to_phys(const void *virt);
__sim_extern_end

#define phys_to_virt(phys) sim_phys_to_virt(phys)
#define virt_to_phys(virt) sim_virt_to_phys(virt)
#define __va(phys) sim_phys_to_virt(phys)
#define __pa(virt) sim_virt_to_phys((const void *)(virt))

#endif
