/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_VMSTAT_H
#define _SIM_LINUX_VMSTAT_H

#include <linux/mm.h>

enum node_stat_item { NR_HUGETLB };

__sim_extern_begin
/* Adds @val to the node's counter (and the folio's memcg, were it charged). */
void lruvec_stat_mod_folio(struct folio *folio, enum node_stat_item idx,
			   int val);
__sim_extern_end

#endif
