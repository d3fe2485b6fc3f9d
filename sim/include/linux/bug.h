/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_BUG_H
#define _SIM_LINUX_BUG_H

#include <linux/compiler.h>
#include <linux/build_bug.h>
#include <linux/printk.h>

__sim_extern_begin
/* A warning ends the history as a failure, a BUG() at once. */
void sim_warn(const char *file, int line, const char *func, const char *cond);
void sim_bug(const char *file, int line, const char *func, const char *cond)
	__attribute__((__noreturn__));
__sim_extern_end

#define WARN_ON(cond) ({ \
	bool _warn = !!(cond); \
	if (unlikely(_warn)) \
		sim_warn(__FILE__, __LINE__, __func__, #cond); \
	unlikely(_warn); })
#define WARN_ON_ONCE(cond) WARN_ON(cond)
#define WARN(cond, ...) WARN_ON(cond)
#define WARN_ONCE(cond, ...) WARN_ON(cond)
#define BUG_ON(cond) do { \
	if (unlikely(cond)) \
		sim_bug(__FILE__, __LINE__, __func__, #cond); } while (0)
#define BUG() sim_bug(__FILE__, __LINE__, __func__, "BUG()")

#endif
