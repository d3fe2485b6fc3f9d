/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SCHED_H
#define _SIM_LINUX_SCHED_H

#include <linux/types.h>

struct mem_cgroup;

/* An actor, as far as the kernel has to know it. */
struct task_struct {
	struct cgroup *sim_cgroup;
	struct mem_cgroup *active_memcg;
};

__sim_extern_begin
/* The running actor has a fatal signal pending. */
bool sim_fatal_signal_pending(void);
struct task_struct *sim_current(void);
__sim_extern_end

#ifndef __cplusplus
#define current sim_current()
#endif

#endif
