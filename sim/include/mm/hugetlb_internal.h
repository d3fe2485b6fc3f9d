/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_MM_HUGETLB_INTERNAL_H
#define _SIM_MM_HUGETLB_INTERNAL_H

#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>

__sim_extern_begin
void init_new_hugetlb_folio(struct folio *folio);
void prep_and_add_allocated_folios(struct hstate *h,
				   struct list_head *folio_list);
void remove_hugetlb_folio(struct hstate *h, struct folio *folio,
			  bool adjust_surplus);

/* Static in mm/hugetlb.c before the series. */
/* HOOK(mm/hugetlb_internal.h, region_chg): region_chg */
long region_chg(struct resv_map *resv, long f, long t,
		long *out_regions_needed);
/* HOOK(mm/hugetlb_internal.h, region_add): region_add */
long region_add(struct resv_map *resv, long f, long t, long in_regions_needed,
		struct hstate *h, struct hugetlb_cgroup *h_cg);
/* HOOK(mm/hugetlb_internal.h, region_abort): region_abort */
void region_abort(struct resv_map *resv, long f, long t, long regions_needed);
/* HOOK(mm/hugetlb_internal.h, region_del): region_del */
long region_del(struct resv_map *resv, long f, long t);
/* HOOK(mm/hugetlb_internal.h, hugetlb_acct_memory): hugetlb_acct_memory */
int hugetlb_acct_memory(struct hstate *h, long delta);
__sim_extern_end

#endif
