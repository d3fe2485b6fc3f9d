/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_FOLIO_BATCH_H
#define _SIM_LINUX_FOLIO_BATCH_H

#include <linux/mm.h>

#define FOLIO_BATCH_SIZE 31

struct folio_batch {
	unsigned char nr;
	unsigned char i;
	bool percpu_pvec_drained;
	struct folio *folios[FOLIO_BATCH_SIZE];
};

static inline void folio_batch_init(struct folio_batch *fbatch)
{
	fbatch->nr = 0;
	fbatch->i = 0;
	fbatch->percpu_pvec_drained = false;
}

static inline unsigned int folio_batch_count(const struct folio_batch *fbatch)
{
	return fbatch->nr;
}

__sim_extern_begin
/* Drops the batch's references and empties it. */
void folio_batch_release(struct folio_batch *fbatch);
__sim_extern_end

#endif
