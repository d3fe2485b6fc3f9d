// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_INCLUDE_SIM_KERNEL_API_H_
#define SIM_INCLUDE_SIM_KERNEL_API_H_

// The kernel headers of sim/include for C++. The headers are C, where some
// members have names that are keywords in C++: they get a trailing
// underscore here (page->private is page->private_).

#include <cstddef>
#include <cstdint>
#include <cstring>

#define private private_
#define new new_
#define class class_

#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/jhash.h>
#include <linux/kernel.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/memblock.h>
#include <linux/memcontrol.h>
#include <linux/memfd.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/string_helpers.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <mm/hugetlb_internal.h>

#undef private
#undef new
#undef class

#endif  // SIM_INCLUDE_SIM_KERNEL_API_H_
