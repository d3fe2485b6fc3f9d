/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SCHED_SIGNAL_H
#define _SIM_LINUX_SCHED_SIGNAL_H

#include <linux/sched.h>

#endif
