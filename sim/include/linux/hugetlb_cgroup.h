/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_HUGETLB_CGROUP_H
#define _SIM_LINUX_HUGETLB_CGROUP_H

#include <linux/hugetlb.h>

struct hugetlb_cgroup {
	struct cgroup_subsys_state css;
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

#endif
