/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_RCUPDATE_H
#define _SIM_LINUX_RCUPDATE_H

#include <linux/srcu.h>

__sim_extern_begin
void rcu_read_lock(void);
void rcu_read_unlock(void);
int rcu_read_lock_held(void);
__sim_extern_end

#endif
