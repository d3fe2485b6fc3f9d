/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SPINLOCK_H
#define _SIM_LINUX_SPINLOCK_H

#include <linux/spinlock_types.h>
#include <linux/bug.h>

#define __SPIN_LOCK_UNLOCKED(x) { { #x, 0, 0, 0 } }
#define DEFINE_SPINLOCK(x) spinlock_t x = __SPIN_LOCK_UNLOCKED(x)

__sim_extern_begin
void sim_spin_lock_init(spinlock_t *lock, const char *name);
void spin_lock(spinlock_t *lock);
void spin_unlock(spinlock_t *lock);
void spin_lock_irq(spinlock_t *lock);
void spin_unlock_irq(spinlock_t *lock);
unsigned long sim_spin_lock_irqsave(spinlock_t *lock);
void spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
int sim_lock_held(const struct sim_lock *lock);
__sim_extern_end

#define spin_lock_init(lock) sim_spin_lock_init(lock, #lock)
#define spin_lock_irqsave(lock, flags) \
	do { (flags) = sim_spin_lock_irqsave(lock); } while (0)

#endif
