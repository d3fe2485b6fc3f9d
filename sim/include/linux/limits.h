/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_LIMITS_H
#define _SIM_LINUX_LIMITS_H

#define NAME_MAX 255
#define PATH_MAX 4096
#define NR_OPEN 1024
#define NGROUPS_MAX 65536
#define ARG_MAX 131072
#define LINK_MAX 127
#define MAX_CANON 255
#define MAX_INPUT 255
#define PIPE_BUF 4096
#define XATTR_NAME_MAX 255
#define XATTR_SIZE_MAX 65536
#define XATTR_LIST_MAX 65536
#define RTSIG_MAX 32
#ifndef __cplusplus
#define INT_MAX ((int)(~0U >> 1))
#define UINT_MAX (~0U)
#define LONG_MAX ((long)(~0UL >> 1))
#define ULONG_MAX (~0UL)
#define LLONG_MAX ((long long)(~0ULL >> 1))
#define U32_MAX ((u32)~0U)
#define U16_MAX ((u16)~0U)
#define U64_MAX ((u64)~0ULL)
#define S64_MAX ((s64)(U64_MAX >> 1))
#define SIZE_MAX (~(size_t)0)
#endif

#endif
