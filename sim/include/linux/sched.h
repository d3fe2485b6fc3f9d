/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SCHED_H
#define _SIM_LINUX_SCHED_H

#include <linux/types.h>

__sim_extern_begin
/* The running actor has a fatal signal pending. */
bool sim_fatal_signal_pending(void);
__sim_extern_end

#endif
