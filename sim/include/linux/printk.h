/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_PRINTK_H
#define _SIM_LINUX_PRINTK_H

#include <linux/types.h>

__sim_extern_begin
/* Goes into the simulated kernel's log, which is part of the trace. */
int _printk(const char *fmt, ...) __printf(1, 2);
__sim_extern_end

#ifndef pr_fmt
#define pr_fmt(fmt) fmt
#endif
#define KERN_ERR "<3>"
#define KERN_WARNING "<4>"
#define KERN_NOTICE "<5>"
#define KERN_INFO "<6>"
#define KERN_DEBUG "<7>"
#define printk _printk
#define pr_err(fmt, ...) _printk(KERN_ERR pr_fmt(fmt), ##__VA_ARGS__)
#define pr_warn(fmt, ...) _printk(KERN_WARNING pr_fmt(fmt), ##__VA_ARGS__)
#define pr_notice(fmt, ...) _printk(KERN_NOTICE pr_fmt(fmt), ##__VA_ARGS__)
#define pr_info(fmt, ...) _printk(KERN_INFO pr_fmt(fmt), ##__VA_ARGS__)
#define pr_debug(fmt, ...) \
	do { if (0) _printk(KERN_DEBUG pr_fmt(fmt), ##__VA_ARGS__); } while (0)
#define pr_warn_ratelimited(fmt, ...) pr_warn(fmt, ##__VA_ARGS__)
#define pr_err_ratelimited(fmt, ...) pr_err(fmt, ##__VA_ARGS__)
#define pr_warn_once(fmt, ...) pr_warn(fmt, ##__VA_ARGS__)

#endif
