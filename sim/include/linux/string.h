/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_STRING_H
#define _SIM_LINUX_STRING_H

#include <linux/types.h>

#ifdef __cplusplus
#include <cstring>
#else
void *memset(void *s, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
void *memmove(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr_inv(const void *s, int c, size_t n);
int strcmp(const char *a, const char *b);
size_t strlen(const char *s);
#endif

#endif
