/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_INIT_H
#define _SIM_LINUX_INIT_H

#include <linux/compiler.h>

/*
 * initcalls of kernel/new put their address into a section of their own,
 * from where the simulated boot calls them at the level's turn. The section
 * is named by level, as in the kernel's linker script.
 */
typedef int (*initcall_t)(void);
#define __sim_initcall(fn, level) \
	static initcall_t __initcall_##fn \
	__attribute__((__used__, __section__("sim_initcall" #level))) = fn
#define early_initcall(fn) __sim_initcall(fn, early)
#define subsys_initcall(fn) __sim_initcall(fn, 4)
#define fs_initcall(fn) __sim_initcall(fn, 5)
#define late_initcall(fn) __sim_initcall(fn, 7)
#define early_param(str, fn) \
	static int (*__setup_##fn)(char *) __attribute__((__unused__)) = fn

#endif
