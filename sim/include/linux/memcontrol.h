/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MEMCONTROL_H
#define _SIM_LINUX_MEMCONTROL_H

#include <linux/cgroup.h>
#include <linux/mm.h>
#include <linux/page_counter.h>
#include <linux/vmstat.h>

struct mm_struct;

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
};

/* What a folio holds on to; it outlives the group, whose parent gets it. */
struct obj_cgroup {
	struct mem_cgroup *memcg;
	long sim_refs;
};

static inline struct mem_cgroup *
mem_cgroup_from_css(struct cgroup_subsys_state *css)
{
	return css ? container_of(css, struct mem_cgroup, css) : NULL;
}

static inline struct mem_cgroup *folio_memcg(struct folio *folio)
{
	/* As obj_cgroup_memcg(): a group may be replaced by its parent. */
	WARN_ON(folio->objcg && !rcu_read_lock_held());
	return folio->objcg ? folio->objcg->memcg : NULL;
}

__sim_extern_begin
bool mem_cgroup_disabled(void);
int mem_cgroup_charge_hugetlb(struct folio *folio, struct mm_struct *mm,
			      gfp_t gfp);
void mem_cgroup_uncharge(struct folio *folio);
void mem_cgroup_migrate(struct folio *from, struct folio *to);
__sim_extern_end

#endif
