/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_SIM_LOCK_H
#define _SIM_SIM_LOCK_H

#include <linux/types.h>

/*
 * What every lock of the simulated kernel is made of. All zeros is "free",
 * so that statically initialised locks are free at boot. The functions
 * behind them (sim/machine/locks.cc) block the calling actor, are steps, and
 * check the discipline: no sleeping under a spinlock, no lock taken twice,
 * no inversion of the order in which two lock classes were taken.
 */
struct sim_lock {
	const char *name;	/* class for the order check; NULL: none */
	int writer;		/* actor id + 1 of the holder, -1: boot, 0: free */
	int readers;
	int waiters;
};

#endif
