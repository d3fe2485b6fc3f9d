/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_COMPILER_H
#define _SIM_LINUX_COMPILER_H

#include <linux/kconfig.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#endif
#define __must_check __attribute__((__warn_unused_result__))
#define __packed __attribute__((__packed__))
#define __printf(a, b) __attribute__((__format__(printf, a, b)))
#define __maybe_unused __attribute__((__unused__))
#define __aligned(x) __attribute__((__aligned__(x)))
/* Names that libstdc++ uses for its own things. */
#ifndef __cplusplus
#define __private
#define __user
#define __must_hold(x)
#define __acquires(x)
#define __releases(x)
#define __ref
#define __init
#define __initdata
#define __ro_after_init
#define __read_mostly
#define __cold __attribute__((__cold__))
#define fallthrough __attribute__((__fallthrough__))
#endif
#define ACCESS_PRIVATE(p, member) ((p)->member)

#ifdef __cplusplus
#define __sim_extern_begin extern "C" {
#define __sim_extern_end }
#else
#define __sim_extern_begin
#define __sim_extern_end
#define typeof __typeof__
#define noinline __attribute__((__noinline__))
#endif

__sim_extern_begin
void sim_smp_wmb(void);
__sim_extern_end

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() __asm__ __volatile__("" ::: "memory")
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, val) (*(volatile __typeof__(x) *)&(x) = (val))
/* Who watches the steps sees what has been written by then. */
#define smp_wmb() sim_smp_wmb()
#define smp_store_release(p, v) WRITE_ONCE(*(p), (v))
#define smp_load_acquire(p) READ_ONCE(*(p))
#define ARRAY_SIZE(arr) (sizeof(arr) / sizeof((arr)[0]))
#undef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#define offsetofend(type, member) \
	(offsetof(type, member) + sizeof(((type *)0)->member))
#define struct_size_t(type, member, count) \
	(sizeof(type) + sizeof(((type *)0)->member[0]) * (size_t)(count))
#define struct_size(p, member, count) \
	(sizeof(*(p)) + sizeof((p)->member[0]) * (size_t)(count))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#endif
