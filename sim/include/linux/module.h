/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MODULE_H
#define _SIM_LINUX_MODULE_H

#include <linux/init.h>
#include <linux/export.h>

struct module;
#define THIS_MODULE ((struct module *)0)
#define KBUILD_MODNAME "hugetlb_luo"
#define MODULE_LICENSE(x)
#define MODULE_DESCRIPTION(x)
#define MODULE_AUTHOR(x)

#endif
