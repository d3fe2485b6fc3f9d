// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Free pages that are handed over.
 */

#define pr_fmt(fmt) "hugetlb_luo: " fmt

#include <linux/err.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_luo.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>

#include "hugetlb_luo_internal.h"

/* The administrator's choice, by page size. Used with READ_ONCE() and such. */
static bool hugetlb_luo_preserve_free[HUGE_MAX_HSTATE];

/**
 * hugetlb_luo_preserves_free - are free pages to be handed over
 * @h: The page size.
 *
 * Return: what hugetlb_luo_set_preserve_free() has set, or false.
 */
bool hugetlb_luo_preserves_free(struct hstate *h)
{
	return READ_ONCE(hugetlb_luo_preserve_free[hstate_index(h)]);
}

/**
 * hugetlb_luo_set_preserve_free - hand over free pages, or do not
 * @h:  The page size.
 * @on: Whether live updates are to hand over the free pages of this size.
 *
 * Return: 0, or -EOPNOTSUPP if this kernel cannot hand over anything.
 */
int hugetlb_luo_set_preserve_free(struct hstate *h, bool on)
{
	if (on && !hugetlb_luo_out.root)
		return -EOPNOTSUPP;

	WRITE_ONCE(hugetlb_luo_preserve_free[hstate_index(h)], on);

	return 0;
}

/*
 * struct hugetlb_luo_free - the free pages of one size, while they are collected
 * @wanted:   They are to be handed over.
 * @left_out: Number of those that are not, after all.
 * @room:     What there is room for at @pfns.
 * @nr:       Number of entries at @pfns.
 * @pfns:     Where they are.
 * @f:        Their table and record.
 */
struct hugetlb_luo_free {
	bool wanted;
	unsigned long left_out;
	unsigned long room;
	unsigned long nr;
	unsigned long *pfns;
	struct hugetlb_luo_file *f;
};

static int hugetlb_luo_cmp_pfn(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

/*
 * Copy where the free pages are, of all sizes at one time: a page that is split
 * into, or made from, those of another size must not be found among both.
 *
 * Return: false if there are more than there is room for.
 */
static bool hugetlb_luo_copy_free(struct hugetlb_luo_free *all)
{
	struct hugetlb_luo_free *free;
	struct folio *folio;
	struct hstate *h;
	bool fits = true;
	int nid;

	spin_lock_irq(&hugetlb_lock);
	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (free->wanted && h->free_huge_pages > free->room)
			fits = false;
	}
	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (!free->wanted || !fits)
			continue;
		for_each_online_node(nid)
			list_for_each_entry(folio, &h->hugepage_freelists[nid], lru)
				free->pfns[free->nr++] = folio_pfn(folio);
	}
	spin_unlock_irq(&hugetlb_lock);

	return fits;
}

static int hugetlb_luo_collect_free(struct hugetlb_luo_free *all)
{
	struct hugetlb_luo_free *free;
	struct hstate *h;

	do {
		for_each_hstate(h) {
			free = &all[hstate_index(h)];
			if (!free->wanted)
				continue;

			kvfree(free->pfns);
			free->room = READ_ONCE(h->free_huge_pages);
			free->pfns = kvmalloc_objs(*free->pfns, free->room);
			if (!free->pfns)
				return -ENOMEM;
		}
	} while (!hugetlb_luo_copy_free(all));

	return 0;
}

/*
 * Tell KHO to preserve the page at @pfn, or not to. The page may have left the
 * pool and be anything by now, so nothing can be read from its folio. What KHO
 * takes down for an aligned range is the same as for a folio of that size, as
 * long as all of it is on one node.
 */
static int hugetlb_luo_preserve_pfn(struct hstate *h, unsigned long pfn)
{
	return kho_preserve_pages(pfn_to_page(pfn), pages_per_huge_page(h));
}

static void hugetlb_luo_unpreserve_pfn(struct hstate *h, unsigned long pfn)
{
	kho_unpreserve_pages(pfn_to_page(pfn), pages_per_huge_page(h));
}

/* Give up handing over the free pages of @h, all of which are at @free->pfns. */
static void hugetlb_luo_drop_free(struct hstate *h, struct hugetlb_luo_free *free)
{
	unsigned long n;

	for (n = 0; n < free->nr; n++)
		hugetlb_luo_unpreserve_pfn(h, free->pfns[n]);
	free->left_out += free->nr;
	free->nr = 0;
	hugetlb_luo_table_free(&free->f->table);
	kho_unpreserve_free(free->f->ser);
	kfree(free->f);
	free->f = NULL;
}

/*
 * Do all that allocates memory for the free pages of @h: the record, the table,
 * and KHO's tree.
 */
static int hugetlb_luo_prepare_free(struct hstate *h, struct hugetlb_luo_free *free)
{
	unsigned long n, nr = free->nr;
	struct hugetlb_luo_file *f;
	int err;

	if (!nr)
		return 0;

	free->nr = 0;
	f = hugetlb_luo_file_alloc(NULL, h);
	if (IS_ERR(f))
		return PTR_ERR(f);
	free->f = f;

	err = hugetlb_luo_table_reserve(&f->table, nr);
	sort_nonatomic(free->pfns, nr, sizeof(*free->pfns), hugetlb_luo_cmp_pfn, NULL);
	for (n = 0; n < nr && !err; n++) {
		unsigned long pfn = free->pfns[n];

		cond_resched();
		/*
		 * Memory that is offline need not have page structures, and what
		 * was added since boot may lose them at any time.
		 */
		if (!pfn_to_online_page(pfn) ||
		    !hugetlb_luo_is_early(pfn, pages_per_huge_page(h)) ||
		    kho_scratch_overlap(PFN_PHYS(pfn), huge_page_size(h)) ||
		    pfn >> huge_page_order(h) > U32_MAX) {
			free->left_out++;
			continue;
		}
		err = hugetlb_luo_preserve_pfn(h, pfn);
		if (!err)
			free->pfns[free->nr++] = pfn;
	}
	if (err)
		hugetlb_luo_drop_free(h, free);

	return err;
}

/* Is the page at @pfn still a free one of @h, and fit for the next kernel? */
static bool hugetlb_luo_still_free(struct hstate *h, unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	struct folio *folio;
	bool ret;

	if (!page)
		return false;

	spin_lock_irq(&hugetlb_lock);
	folio = page_folio(page);
	ret = folio_test_hugetlb(folio) && folio_pfn(folio) == pfn &&
	      folio_order(folio) == huge_page_order(h) &&
	      folio_test_hugetlb_freed(folio) &&
	      !folio_test_hwpoison(folio) && !folio_test_hugetlb_cma(folio) &&
	      folio_is_longterm_pinnable(folio);
	spin_unlock_irq(&hugetlb_lock);

	return ret;
}

/*
 * Hand over those that are free to the last. Nothing is allocated here: it could
 * come to lie in a page that was found to be free just before.
 */
static int hugetlb_luo_publish_free(struct hstate *h, struct hugetlb_luo_free *free)
{
	struct hugetlb_luo_file *f = free->f;
	unsigned long n, nr = free->nr;
	int err;

	free->nr = 0;
	for (n = 0; n < nr; n++) {
		unsigned long pfn = free->pfns[n];

		cond_resched();
		if (!hugetlb_luo_still_free(h, pfn)) {
			hugetlb_luo_unpreserve_pfn(h, pfn);
			free->left_out++;
			continue;
		}
		free->pfns[free->nr++] = pfn;
		WARN_ON_ONCE(hugetlb_luo_table_add(&f->table, f->nr_pages,
						   pfn >> huge_page_order(h), 0));
		f->nr_pages++;
		f->node_pages[page_to_nid(pfn_to_page(pfn))]++;
	}

	err = hugetlb_luo_fill_counts(f);
	if (err || !f->nr_pages) {
		hugetlb_luo_drop_free(h, free);
		return err;
	}

	hugetlb_luo_table_trim(&f->table);
	hugetlb_luo_table_seal(&f->table);
	f->ser->runs = hugetlb_luo_table_phys(&f->table);
	f->ser->flags = HUGETLB_LUO_FILE_FREE;
	hugetlb_luo_publish(f);

	return 0;
}

static void hugetlb_luo_free_failed(struct hstate *h, int err)
{
	pr_warn("order %u: free pages are not handed over: %pe\n",
		huge_page_order(h), ERR_PTR(err));
}

/**
 * hugetlb_luo_hand_over_free - hand over the free pages of the pools
 *
 * Called at the end of liveupdate_reboot(), when nothing that others do can make
 * the update fail any more, and nobody preserves anything after it. Does nothing
 * unless the administrator has asked for it. Failing is no reason to stop.
 */
void hugetlb_luo_hand_over_free(void)
{
	struct hugetlb_luo_free all[HUGE_MAX_HSTATE] = {};
	struct hugetlb_luo_free *free;
	int err, failed = -EHWPOISON;
	struct hstate *h;
	unsigned int nid;

	for_each_hstate(h)
		all[hstate_index(h)].wanted = hugetlb_luo_preserves_free(h);

	/* One that gets a memory error later on must not look healthy. */
	if (hugetlb_luo_knows_errors())
		failed = hugetlb_luo_collect_free(all);
	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (!free->wanted)
			continue;
		err = failed;
		if (!err)
			err = hugetlb_luo_prepare_free(h, free);
		if (err)
			hugetlb_luo_free_failed(h, err);
	}

	for_each_hstate(h) {
		free = &all[hstate_index(h)];
		if (!free->f)
			continue;
		err = hugetlb_luo_publish_free(h, free);
		if (err)
			hugetlb_luo_free_failed(h, err);
		for (nid = 0; free->f && nid < nr_node_ids; nid++)
			if (free->f->node_pages[nid])
				pr_info("order %u, node %u: %llu free pages are handed over\n",
					huge_page_order(h), nid, free->f->node_pages[nid]);
		if (free->left_out)
			pr_info("order %u: %lu free pages are not handed over\n",
				huge_page_order(h), free->left_out);
	}

	for_each_hstate(h)
		kvfree(all[hstate_index(h)].pfns);
}
