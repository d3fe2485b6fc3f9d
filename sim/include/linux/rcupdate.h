/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_RCUPDATE_H
#define _SIM_LINUX_RCUPDATE_H

#include <linux/srcu.h>

static inline void rcu_read_lock(void) { }
static inline void rcu_read_unlock(void) { }

#endif
