/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_RWSEM_H
#define _SIM_LINUX_RWSEM_H

#include <linux/lockdep.h>

struct rw_semaphore { struct sim_lock l; };

#define __RWSEM_INITIALIZER(x) { { #x, 0, 0, 0 } }
#define DECLARE_RWSEM(x) struct rw_semaphore x = __RWSEM_INITIALIZER(x)

__sim_extern_begin
void sim_init_rwsem(struct rw_semaphore *sem, const char *name);
void down_read(struct rw_semaphore *sem);
int down_read_trylock(struct rw_semaphore *sem);
void up_read(struct rw_semaphore *sem);
void down_write(struct rw_semaphore *sem);
int down_write_trylock(struct rw_semaphore *sem);
void up_write(struct rw_semaphore *sem);
__sim_extern_end

#define init_rwsem(sem) sim_init_rwsem(sem, #sem)

#endif
