/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_REFCOUNT_H
#define _SIM_LINUX_REFCOUNT_H

#include <linux/bug.h>
#include <linux/atomic.h>

typedef struct { atomic_t refs; } refcount_t;

#define REFCOUNT_INIT(n) { { (n) } }

static inline void refcount_set(refcount_t *r, int n)
{
	r->refs.counter = n;
}

static inline unsigned int refcount_read(const refcount_t *r)
{
	return r->refs.counter;
}

static inline void refcount_inc(refcount_t *r)
{
	WARN_ON(r->refs.counter <= 0);
	r->refs.counter++;
}

static inline bool refcount_dec_and_test(refcount_t *r)
{
	WARN_ON(r->refs.counter <= 0);
	return --r->refs.counter == 0;
}

#endif
