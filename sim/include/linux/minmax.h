/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_MINMAX_H
#define _SIM_LINUX_MINMAX_H

#include <linux/types.h>

/* C++ has std::min; the macros would break its headers. */
#ifndef __cplusplus
#define min(x, y) ({ \
	__typeof__(x) _x = (x); \
	__typeof__(y) _y = (y); \
	(void)(&_x == &_y); \
	_x < _y ? _x : _y; })
#define max(x, y) ({ \
	__typeof__(x) _x = (x); \
	__typeof__(y) _y = (y); \
	(void)(&_x == &_y); \
	_x > _y ? _x : _y; })
#define min_t(type, x, y) ({ type _x = (x); type _y = (y); _x < _y ? _x : _y; })
#define max_t(type, x, y) ({ type _x = (x); type _y = (y); _x > _y ? _x : _y; })
#define clamp(val, lo, hi) min(max(val, lo), hi)
#define swap(a, b) \
	do { __typeof__(a) _t = (a); (a) = (b); (b) = _t; } while (0)
#define umin(x, y) min_t(unsigned long long, x, y)
#endif

#endif
