/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SHMEM_FS_H
#define _SIM_LINUX_SHMEM_FS_H

#include <linux/file.h>

__sim_extern_begin
bool shmem_file(struct file *file);
__sim_extern_end

#endif
