/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_KERNEL_H
#define _SIM_LINUX_KERNEL_H

#include <linux/align.h>
#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/err.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/printk.h>

__sim_extern_begin
/* A voluntary point of rescheduling: a step, and a sleeping call. */
void sim_might_sleep(const char *what);
__sim_extern_end

#define might_sleep() sim_might_sleep(__func__)
#define cond_resched() sim_might_sleep("cond_resched")

#endif
