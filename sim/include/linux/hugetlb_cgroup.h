/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_HUGETLB_CGROUP_H
#define _SIM_LINUX_HUGETLB_CGROUP_H

#include <linux/cgroup.h>
#include <linux/hugetlb.h>
#include <linux/page_counter.h>

struct hugetlb_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter hugepage[HUGE_MAX_HSTATE];
	struct page_counter rsvd_hugepage[HUGE_MAX_HSTATE];
};

static inline struct hugetlb_cgroup *
hugetlb_cgroup_from_folio(struct folio *folio)
{
	return folio->_hugetlb_cgroup;
}

static inline struct hugetlb_cgroup *
hugetlb_cgroup_from_folio_rsvd(struct folio *folio)
{
	return folio->_hugetlb_cgroup_rsvd;
}

static inline void set_hugetlb_cgroup(struct folio *folio,
				      struct hugetlb_cgroup *h_cg)
{
	folio->_hugetlb_cgroup = h_cg;
}

static inline void set_hugetlb_cgroup_rsvd(struct folio *folio,
					   struct hugetlb_cgroup *h_cg)
{
	folio->_hugetlb_cgroup_rsvd = h_cg;
}

static inline void hugetlb_cgroup_put_rsvd_cgroup(struct hugetlb_cgroup *h_cg)
{
	css_put(&h_cg->css);
}

__sim_extern_begin
bool hugetlb_cgroup_disabled(void);
/* HOOK(include/linux/hugetlb_cgroup.h, hugetlb_cgroup_try_charge): hugetlb_cgroup_try_charge */
int hugetlb_cgroup_try_charge(int idx, unsigned long nr_pages,
			      struct hugetlb_cgroup *h_cg, bool rsvd);
int hugetlb_cgroup_charge_cgroup(int idx, unsigned long nr_pages,
				 struct hugetlb_cgroup **ptr);
int hugetlb_cgroup_charge_cgroup_rsvd(int idx, unsigned long nr_pages,
				      struct hugetlb_cgroup **ptr);
void hugetlb_cgroup_commit_charge(int idx, unsigned long nr_pages,
				  struct hugetlb_cgroup *h_cg,
				  struct folio *folio);
void hugetlb_cgroup_commit_charge_rsvd(int idx, unsigned long nr_pages,
				       struct hugetlb_cgroup *h_cg,
				       struct folio *folio);
void hugetlb_cgroup_uncharge_folio(int idx, unsigned long nr_pages,
				   struct folio *folio);
void hugetlb_cgroup_uncharge_folio_rsvd(int idx, unsigned long nr_pages,
					struct folio *folio);
void hugetlb_cgroup_uncharge_cgroup(int idx, unsigned long nr_pages,
				    struct hugetlb_cgroup *h_cg);
void hugetlb_cgroup_uncharge_cgroup_rsvd(int idx, unsigned long nr_pages,
					 struct hugetlb_cgroup *h_cg);
void hugetlb_cgroup_uncharge_counter(struct resv_map *resv,
				     unsigned long start, unsigned long end);
void hugetlb_cgroup_uncharge_file_region(struct resv_map *resv,
					 struct file_region *rg,
					 unsigned long nr_pages,
					 bool region_del);
void hugetlb_cgroup_migrate(struct folio *old_folio, struct folio *new_folio);
__sim_extern_end

#endif
