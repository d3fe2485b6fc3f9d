/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_CGROUP_H
#define _SIM_LINUX_CGROUP_H

#include <linux/sched.h>
#include <linux/types.h>

/* One hierarchy, version 2, with both controllers in all of its groups. */
enum cgroup_subsys_id {
	memory_cgrp_id,
	hugetlb_cgrp_id,
	CGROUP_SUBSYS_COUNT,
};

struct cgroup_subsys {
	int id;
};

enum {
	CSS_NO_REF = 1 << 0,
	CSS_ONLINE = 1 << 1,
	CSS_DYING = 1 << 4,
};

struct cgroup;
struct cgroup_root;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys *ss;
	long sim_refs;
	bool sim_killed;	/* percpu_ref_is_dying() */
	unsigned int flags;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct cgroup_subsys_state *subsys[CGROUP_SUBSYS_COUNT];
	struct cgroup_root *root;
	int sim_name;		/* N of cN, -1: the root */
};

struct cgroup_root {
	struct cgroup cgrp;
};

__sim_extern_begin
extern struct cgroup_subsys memory_cgrp_subsys;
extern struct cgroup_subsys hugetlb_cgrp_subsys;

void css_get(struct cgroup_subsys_state *css);
void css_put(struct cgroup_subsys_state *css);
bool css_tryget(struct cgroup_subsys_state *css);
bool css_tryget_online(struct cgroup_subsys_state *css);
int cgroup_path(struct cgroup *cgrp, char *buf, size_t buflen);
/* HOOK(include/linux/cgroup.h, cgroup_get_from_path_in): cgroup_get_from_path_in */
struct cgroup *cgroup_get_from_path_in(struct cgroup *root_cgrp,
				       const char *path);
struct cgroup_subsys_state *cgroup_get_e_css(struct cgroup *cgroup,
					     struct cgroup_subsys *ss);
struct cgroup_subsys_state *task_get_css(struct task_struct *task,
					 int subsys_id);
__sim_extern_end

static inline bool css_is_dying(struct cgroup_subsys_state *css)
{
	return css->flags & CSS_DYING;
}

static inline bool css_is_online(struct cgroup_subsys_state *css)
{
	return css->flags & CSS_ONLINE;
}

static inline void cgroup_put(struct cgroup *cgrp)
{
	css_put(&cgrp->self);
}

#endif
