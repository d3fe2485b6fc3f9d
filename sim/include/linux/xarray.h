/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_XARRAY_H
#define _SIM_LINUX_XARRAY_H

#include <linux/gfp.h>
#include <linux/err.h>
#include <linux/spinlock_types.h>

/* Nodes come from the simulated slab, so that storing may fail. */
struct xarray {
	void *xa_head;
	gfp_t xa_flags;
};

#define XARRAY_INIT(name, flags) { NULL, flags }
#define DEFINE_XARRAY(name) struct xarray name = XARRAY_INIT(name, 0)

#define XA_PRESENT 8U
enum { XA_MAX_INDEX_BITS = 64 };

struct xa_limit { u32 max; u32 min; };

__sim_extern_begin
void *xa_load(struct xarray *xa, unsigned long index);
void *xa_store(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp);
int xa_insert(struct xarray *xa, unsigned long index, void *entry, gfp_t gfp);
void *xa_erase(struct xarray *xa, unsigned long index);
/* Next present entry at or after *@index, or NULL; sets *@index. */
void *xa_find(struct xarray *xa, unsigned long *index, unsigned long max,
	      unsigned int filter);
void *xa_find_after(struct xarray *xa, unsigned long *index,
		    unsigned long max, unsigned int filter);
void xa_destroy(struct xarray *xa);
__sim_extern_end

static inline void xa_init(struct xarray *xa)
{
	xa->xa_head = NULL;
	xa->xa_flags = 0;
}

static inline bool xa_empty(const struct xarray *xa)
{
	return xa->xa_head == NULL;
}

static inline bool xa_is_value(const void *entry)
{
	return (unsigned long)entry & 1;
}

static inline void *xa_mk_value(unsigned long v)
{
	return (void *)((v << 1) | 1);
}

static inline unsigned long xa_to_value(const void *entry)
{
	return (unsigned long)entry >> 1;
}

static inline int xa_err(void *entry)
{
	return IS_ERR(entry) ? (int)PTR_ERR(entry) : 0;
}

#define xa_for_each(xa, index, entry) \
	for (index = 0, \
	     entry = (__typeof__(entry))xa_find(xa, &index, ~0UL, 8); \
	     entry; \
	     entry = (__typeof__(entry))xa_find_after(xa, &index, ~0UL, 8))

#endif
