/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_NODEMASK_H
#define _SIM_LINUX_NODEMASK_H

#include <linux/bug.h>
#include <linux/types.h>
#include <linux/numa.h>

typedef struct { DECLARE_BITMAP(bits, MAX_NUMNODES); } nodemask_t;

enum node_states {
	N_POSSIBLE,
	N_ONLINE,
	N_NORMAL_MEMORY,
	N_MEMORY,
	NR_NODE_STATES
};

__sim_extern_begin
extern nodemask_t node_states[NR_NODE_STATES];
extern unsigned int nr_node_ids;
__sim_extern_end

/* Nobody may look behind its end. */
static inline unsigned int sim_node(unsigned int node)
{
	BUG_ON(node >= MAX_NUMNODES);
	return node;
}

#define node_isset(node, mask) (((mask).bits[0] >> sim_node(node)) & 1)
#define node_set(node, mask) ((void)((mask).bits[0] |= 1UL << (node)))
#define node_clear(node, mask) ((void)((mask).bits[0] &= ~(1UL << (node))))
#define nodes_clear(mask) ((void)((mask).bits[0] = 0))
#define nodes_empty(mask) (!(mask).bits[0])
#define nodes_weight(mask) __builtin_popcountl((mask).bits[0])
#define node_state(node, state) node_isset(node, node_states[state])
#define node_online(node) node_state(node, N_ONLINE)
#define node_online_map node_states[N_ONLINE]
#define num_node_state(state) nodes_weight(node_states[state])

static inline int sim_next_node(int n, const nodemask_t *mask)
{
	for (n++; n < MAX_NUMNODES; n++)
		if (node_isset(n, *mask))
			return n;
	return MAX_NUMNODES;
}

#define first_node(mask) sim_next_node(-1, &(mask))
#define next_node(n, mask) sim_next_node(n, &(mask))
#define first_online_node first_node(node_states[N_ONLINE])
#define first_memory_node first_node(node_states[N_MEMORY])

static inline int sim_next_node_in(int n, const nodemask_t *mask)
{
	int next = sim_next_node(n, mask);

	return next < MAX_NUMNODES ? next : sim_next_node(-1, mask);
}

#define next_node_in(n, mask) sim_next_node_in(n, &(mask))
#define for_each_node_mask(node, mask) \
	for ((node) = first_node(mask); (node) < MAX_NUMNODES; \
	     (node) = next_node(node, mask))
#define for_each_node_state(node, state) \
	for_each_node_mask(node, node_states[state])
#define for_each_online_node(node) for_each_node_state(node, N_ONLINE)
#define for_each_node(node) for_each_node_state(node, N_POSSIBLE)

#endif
