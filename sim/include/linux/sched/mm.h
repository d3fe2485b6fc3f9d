/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SCHED_MM_H
#define _SIM_LINUX_SCHED_MM_H

#include <linux/sched.h>

static inline struct mem_cgroup *set_active_memcg(struct mem_cgroup *memcg)
{
	struct mem_cgroup *old = sim_current()->active_memcg;

	sim_current()->active_memcg = memcg;
	return old;
}

#endif
