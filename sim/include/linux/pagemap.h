/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_PAGEMAP_H
#define _SIM_LINUX_PAGEMAP_H

#include <linux/fs.h>
#include <linux/folio_batch.h>

__sim_extern_begin
/*
 * The page cache. Indexes are in units of PAGE_SIZE, also for huge pages;
 * a huge page has one entry, at its first index.
 */
struct folio *filemap_get_folio(struct address_space *mapping, pgoff_t index);
struct folio *filemap_lock_folio(struct address_space *mapping, pgoff_t index);
unsigned int filemap_get_folios(struct address_space *mapping, pgoff_t *start,
				pgoff_t end, struct folio_batch *fbatch);
int __filemap_add_folio(struct address_space *mapping, struct folio *folio,
			pgoff_t index, gfp_t gfp, void **shadowp);
void filemap_remove_folio(struct folio *folio);
__sim_extern_end

#endif
