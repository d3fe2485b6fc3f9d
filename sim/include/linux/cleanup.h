/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_CLEANUP_H
#define _SIM_LINUX_CLEANUP_H

#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>

/*
 * Scope-based locks and frees as the kernel has them: guard(mutex)(&lock)
 * and pointers with __free(kfree).
 */
#ifndef __cplusplus
#define __cleanup(fn) __attribute__((__cleanup__(fn)))
#define __sim_cat2(a, b) a##b
#define __sim_cat(a, b) __sim_cat2(a, b)
static inline void __sim_guard_mutex(struct mutex **p)
{
	mutex_unlock(*p);
}
static inline struct mutex *__sim_take_mutex(struct mutex *m)
{
	mutex_lock(m);
	return m;
}
static inline void __sim_guard_spinlock_irq(spinlock_t **p)
{
	spin_unlock_irq(*p);
}
static inline spinlock_t *__sim_take_spinlock_irq(spinlock_t *l)
{
	spin_lock_irq(l);
	return l;
}
static inline void __sim_guard_spinlock(spinlock_t **p)
{
	spin_unlock(*p);
}
static inline spinlock_t *__sim_take_spinlock(spinlock_t *l)
{
	spin_lock(l);
	return l;
}
static inline void __sim_guard_rcu(void **p)
{
	(void)p;
	rcu_read_unlock();
}
static inline void *__sim_take_rcu(void)
{
	rcu_read_lock();
	return NULL;
}
#define __sim_type_rcu void
#define __sim_type_mutex struct mutex
#define __sim_type_spinlock spinlock_t
#define __sim_type_spinlock_irq spinlock_t
#define guard(cls) \
	__sim_type_##cls *__sim_cat(__guard_, __LINE__) \
	__cleanup(__sim_guard_##cls) = __sim_take_##cls
#define scoped_guard(cls, lock) \
	for (__sim_type_##cls *__sim_scope \
		__cleanup(__sim_guard_##cls) = __sim_take_##cls(lock), \
		*__sim_once = (void *)1; __sim_once; __sim_once = NULL)
#endif

#endif
