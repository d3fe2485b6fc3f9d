/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_SLAB_H
#define _SIM_LINUX_SLAB_H

#include <linux/gfp.h>
#include <linux/overflow.h>

__sim_extern_begin
extern const char *sim_alloc_tag;
void *sim_kmalloc(size_t size, gfp_t gfp);
void *sim_kmalloc_array(size_t n, size_t size, gfp_t gfp);
void kfree(const void *p);
void *sim_kvmalloc_array(size_t n, size_t size, gfp_t gfp);
void kvfree(const void *p);
bool slab_is_available(void);
__sim_extern_end

/* Names the allocating function in reports of leaks. */
#define __sim_tag(call) (sim_alloc_tag = __func__, (call))
#define kmalloc(size, gfp) __sim_tag(sim_kmalloc(size, gfp))
#define kzalloc(size, gfp) __sim_tag(sim_kmalloc(size, (gfp) | __GFP_ZERO))
#define kcalloc(n, size, gfp) \
	__sim_tag(sim_kmalloc_array(n, size, (gfp) | __GFP_ZERO))
#define kmalloc_array(n, size, gfp) __sim_tag(sim_kmalloc_array(n, size, gfp))
#define kvmalloc_array(n, size, gfp) \
	__sim_tag(sim_kvmalloc_array(n, size, gfp))
#define kvcalloc(n, size, gfp) \
	__sim_tag(sim_kvmalloc_array(n, size, (gfp) | __GFP_ZERO))

/* The type-based allocators: the gfp argument may be left out. */
#define __sim_gfp(_0, gfp, ...) gfp
#define __sim_default_gfp(...) __sim_gfp(_0, ##__VA_ARGS__, GFP_KERNEL)
#define kmalloc_obj(obj, ...) \
	((__typeof__(obj) *)kmalloc(sizeof(obj), __sim_default_gfp(__VA_ARGS__)))
#define kzalloc_obj(obj, ...) \
	((__typeof__(obj) *)kzalloc(sizeof(obj), __sim_default_gfp(__VA_ARGS__)))
#define kmalloc_objs(obj, n, ...) \
	((__typeof__(obj) *)kmalloc_array(n, sizeof(obj), \
					  __sim_default_gfp(__VA_ARGS__)))
#define kzalloc_flex(obj, member, n, ...) \
	((__typeof__(obj) *)kzalloc(sizeof(obj) + \
		sizeof(((__typeof__(obj) *)0)->member[0]) * (size_t)(n), \
		__sim_default_gfp(__VA_ARGS__)))
#define kvmalloc_objs(obj, n, ...) \
	((__typeof__(obj) *)kvmalloc_array(n, sizeof(obj), \
					   __sim_default_gfp(__VA_ARGS__)))
#define kvzalloc_objs(obj, n, ...) \
	((__typeof__(obj) *)kvcalloc(n, sizeof(obj), \
				     __sim_default_gfp(__VA_ARGS__)))

#endif
