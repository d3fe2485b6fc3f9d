/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MUTEX_H
#define _SIM_LINUX_MUTEX_H

#include <linux/lockdep.h>

struct mutex { struct sim_lock l; };

#define __MUTEX_INITIALIZER(x) { { #x, 0, 0, 0 } }
#define DEFINE_MUTEX(x) struct mutex x = __MUTEX_INITIALIZER(x)

__sim_extern_begin
void sim_mutex_init(struct mutex *lock, const char *name);
void mutex_lock(struct mutex *lock);
int mutex_lock_killable(struct mutex *lock);
int mutex_trylock(struct mutex *lock);
void mutex_unlock(struct mutex *lock);
bool mutex_is_locked(struct mutex *lock);
__sim_extern_end

#define mutex_init(lock) sim_mutex_init(lock, #lock)
static inline void mutex_destroy(struct mutex *lock)
{
	WARN_ON(lock->l.writer);
}

#endif
