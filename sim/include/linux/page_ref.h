/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef _SIM_LINUX_PAGE_REF_H
#define _SIM_LINUX_PAGE_REF_H

#include <linux/page-flags.h>

static inline int folio_ref_count(const struct folio *folio)
{
	sim_page_access(folio);
	return folio->_refcount.counter;
}

static inline int page_ref_count(const struct page *page)
{
	sim_page_access(page);
	return page->_refcount.counter;
}

static inline void set_page_count(struct page *page, int v)
{
	sim_page_access(page);
	page->_refcount.counter = v;
}

static inline void folio_ref_add(struct folio *folio, int nr)
{
	sim_page_access(folio);
	folio->_refcount.counter += nr;
}

/* Takes the count to zero if it is what the caller knows of. */
static inline int folio_ref_freeze(struct folio *folio, int count)
{
	sim_page_access(folio);
	if (folio->_refcount.counter != count)
		return false;
	folio->_refcount.counter = 0;
	return true;
}

static inline void folio_ref_unfreeze(struct folio *folio, int count)
{
	sim_page_access(folio);
	folio->_refcount.counter = count;
}

#endif
