/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_LOCKDEP_H
#define _SIM_LINUX_LOCKDEP_H

#include <linux/spinlock.h>

struct lock_class_key { int unused; };
#define lockdep_assert_held(x) WARN_ON(!sim_lock_held(&(x)->l))
#define lockdep_assert_held_write(x) WARN_ON(!sim_lock_held(&(x)->l))

#endif
