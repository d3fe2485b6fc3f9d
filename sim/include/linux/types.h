/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_TYPES_H
#define _SIM_LINUX_TYPES_H

#include <linux/compiler.h>

/*
 * glibc's own headers include <linux/types.h>; the double-underscore names
 * keep to what it expects.
 */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
#ifdef __cplusplus
typedef unsigned long long __u64;
typedef long long __s64;
#else
typedef unsigned long long __u64;
typedef long long __s64;
#endif

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#ifndef __cplusplus
typedef unsigned long size_t;
typedef long ssize_t;
typedef long long loff_t;
typedef unsigned short umode_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
typedef unsigned long uintptr_t;
#else
#include <cstddef>
#include <cstdint>
#include <sys/types.h>
typedef unsigned short umode_t;
#endif

typedef u64 phys_addr_t;
typedef unsigned long pgoff_t;
typedef unsigned int gfp_t;
typedef unsigned int fmode_t;

typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;
typedef struct { long counter; } atomic_long_t;

struct list_head {
	struct list_head *next, *prev;
};

#define DECLARE_BITMAP(name, bits) \
	unsigned long name[((bits) + 63) / 64]
#define BITS_PER_BYTE 8
#define BITS_PER_LONG 64

#endif
