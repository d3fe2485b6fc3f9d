/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MIGRATE_H
#define _SIM_LINUX_MIGRATE_H

#include <linux/mm.h>

enum migrate_reason {
	MR_COMPACTION,
	MR_MEMORY_HOTPLUG,
	MR_SYSCALL,
	MR_LONGTERM_PIN,
	MR_CONTIG_RANGE,
};

#endif
