/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SRCU_H
#define _SIM_LINUX_SRCU_H

#include <linux/types.h>

struct srcu_struct {
	int readers;	/* of the current period, and of the one before */
	int old_readers;
	int idx;
	int waiters;
};

#define DEFINE_STATIC_SRCU(name) static struct srcu_struct name

__sim_extern_begin
int srcu_read_lock(struct srcu_struct *ssp);
void srcu_read_unlock(struct srcu_struct *ssp, int idx);
void synchronize_srcu(struct srcu_struct *ssp);
void synchronize_srcu_expedited(struct srcu_struct *ssp);
__sim_extern_end

#define srcu_dereference(p, ssp) READ_ONCE(p)
#define rcu_assign_pointer(p, v) WRITE_ONCE(p, v)
#define rcu_dereference_protected(p, c) (p)
#define RCU_INIT_POINTER(p, v) WRITE_ONCE(p, v)
#define rcu_access_pointer(p) READ_ONCE(p)
#ifndef __cplusplus
#define __rcu
#endif

#endif
