/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MEMFD_H
#define _SIM_LINUX_MEMFD_H

#include <linux/file.h>
#include <linux/fcntl.h>
#include <uapi/linux/memfd.h>

__sim_extern_begin
struct folio *memfd_alloc_folio(struct file *memfd, pgoff_t idx);
struct file *memfd_alloc_file(const char *name, unsigned int flags);
int memfd_get_seals(struct file *file);
int memfd_add_seals(struct file *file, unsigned int seals);
__sim_extern_end

#endif
