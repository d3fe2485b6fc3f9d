/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MEMCONTROL_H
#define _SIM_LINUX_MEMCONTROL_H

#include <linux/vmstat.h>

struct mem_cgroup { int id; };
__sim_extern_begin
bool mem_cgroup_is_root(struct mem_cgroup *memcg);
__sim_extern_end

#endif
