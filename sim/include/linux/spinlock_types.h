/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SPINLOCK_TYPES_H
#define _SIM_LINUX_SPINLOCK_TYPES_H

#include <sim/lock.h>

typedef struct spinlock { struct sim_lock l; } spinlock_t;

#endif
