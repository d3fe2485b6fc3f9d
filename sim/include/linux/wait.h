/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_WAIT_H
#define _SIM_LINUX_WAIT_H

#include <linux/types.h>

/* Actors that sleep here are found by the queue's address. */
typedef struct wait_queue_head {
	int waiters;
} wait_queue_head_t;

#define DECLARE_WAIT_QUEUE_HEAD(name) struct wait_queue_head name = { 0 }

__sim_extern_begin
/* Sleeps until woken; returns true when the actor was killed meanwhile. */
bool sim_wait(struct wait_queue_head *wq, bool killable);
void wake_up_all(struct wait_queue_head *wq);
__sim_extern_end

#define wake_up(wq) wake_up_all(wq)

static inline void init_waitqueue_head(struct wait_queue_head *wq)
{
	wq->waiters = 0;
}

#define wait_event(wq, cond) \
	do { while (!(cond)) sim_wait(&(wq), false); } while (0)
#define wait_event_killable(wq, cond) ({ \
	int _ret = 0; \
	while (!(cond)) { \
		if (sim_wait(&(wq), true)) { \
			_ret = -ERESTARTSYS; \
			break; \
		} \
	} \
	_ret; })

#endif
