/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_CGROUP_H
#define _SIM_LINUX_CGROUP_H

#include <linux/types.h>

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
};

#endif
