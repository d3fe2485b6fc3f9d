/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_STAT_H
#define _SIM_LINUX_STAT_H

#undef S_IFMT
#define S_IFMT 00170000
#ifdef __cplusplus
/* glibc's <sys/stat.h> takes struct statx from here; it is not needed. */
#endif

#endif
