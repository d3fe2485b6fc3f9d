/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_NUMA_H
#define _SIM_LINUX_NUMA_H

#define NODES_SHIFT 3
#define MAX_NUMNODES (1 << NODES_SHIFT)
#define NUMA_NO_NODE (-1)

#endif
