// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Pools that are filled around what comes from the previous kernel.
 */

#define pr_fmt(fmt) "hugetlb_luo: " fmt

#include <linux/hugetlb.h>
#include <linux/hugetlb_luo.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/memblock.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "hugetlb_internal.h"
#include "hugetlb_luo_internal.h"

/*
 * struct hugetlb_luo_plan - how a pool is filled at boot
 * @begun:     The command line's request was noted down here.
 * @by_node:   It is for single nodes.
 * @reduced:   Less was allocated, because of what was to come.
 * @want:      Pages it asks for altogether.
 * @need:      Pages that have to be allocated for that.
 * @got:       Pages that were allocated where they belong, if some were not.
 * @coming:    Pages that lie on each node, once that is known, and are not in
 *             the pool yet.
 * @nr_free:   Pages that came and are free.
 * @want_node: Pages it asks for on each node.
 * @surplus:   Pages that come to each node although nobody asks for them.
 * @free:      Pages that came and are free, on each node.
 */
struct hugetlb_luo_plan {
	bool begun;
	bool by_node;
	bool reduced;
	unsigned long want;
	unsigned long need;
	unsigned long got;
	unsigned long nr_free;
	unsigned int coming[MAX_NUMNODES];
	unsigned int want_node[MAX_NUMNODES];
	unsigned int surplus[MAX_NUMNODES];
	unsigned int free[MAX_NUMNODES];
};

static struct hugetlb_luo_plan hugetlb_luo_plans[HUGE_MAX_HSTATE] __initdata;

/* Pages of @h on @nid that come, as far as is known. */
static unsigned long __init hugetlb_luo_coming(struct hstate *h, unsigned int nid)
{
	if (hugetlb_luo_in.imported)
		return hugetlb_luo_plans[hstate_index(h)].coming[nid];

	return hugetlb_luo_expected(h, nid);
}

/*
 * How far @nid is below @level with what comes to it, or above.
 */
static unsigned long __init hugetlb_luo_gap(struct hstate *h, unsigned int nid,
					    unsigned long level, bool below)
{
	unsigned long nr = hugetlb_luo_coming(h, nid);

	if (below)
		return nr < level ? level - nr : 0;
	return nr > level ? nr - level : 0;
}

/*
 * Spread @nr pages over the nodes so that they end up as even as can be: on top
 * of what comes if @below, else as a part of it. The share of each node goes to
 * @share, which is as if one page at a time went to (was taken from) the node
 * with the fewest (the most), the first of these.
 */
static void __init hugetlb_luo_spread(struct hstate *h, unsigned long nr,
				      bool below, unsigned int *share)
{
	unsigned long lo = 0, hi = 0, level, sum;
	int nid, last = 0;

	for_each_node_state(nid, N_MEMORY) {
		hi = max(hi, hugetlb_luo_coming(h, nid));
		last = nid;
	}
	if (below)
		hi += nr;

	/* The lowest (highest) level for which at least @nr pages are needed. */
	while (lo < hi) {
		level = below ? lo + (hi - lo) / 2 : hi - (hi - lo) / 2;
		sum = 0;
		for_each_node_state(nid, N_MEMORY)
			sum += hugetlb_luo_gap(h, nid, level, below);
		if (below && sum >= nr)
			hi = level;
		else if (below)
			lo = level + 1;
		else if (sum >= nr)
			lo = level;
		else
			hi = level - 1;
	}

	sum = 0;
	for_each_node_state(nid, N_MEMORY) {
		share[nid] = hugetlb_luo_gap(h, nid, lo, below);
		sum += share[nid];
	}
	/* The last ones did not get theirs. */
	for (nid = last; nid >= 0 && sum > nr; nid--) {
		if (share[nid]) {
			share[nid]--;
			sum--;
		}
	}
}

/* A page of the records, which nobody but memblock can be asked about yet. */
static void * __init hugetlb_luo_early_page(u64 phys)
{
	if (!IS_ALIGNED(phys, PAGE_SIZE) || !memblock_is_region_memory(phys, PAGE_SIZE))
		return NULL;

	return phys_to_virt(phys);
}

/* Count the pages of one list by node. There are not more than @left. */
static bool __init hugetlb_luo_locate_runs(struct hstate *h, u64 phys, u64 *left)
{
	unsigned int *located = hugetlb_luo_in.located[hstate_index(h)];
	u64 end = memblock_end_of_DRAM() >> huge_page_shift(h);
	unsigned long pfn, start_pfn, end_pfn;
	u32 i, n;

	while (phys) {
		const struct hugetlb_luo_block_ser *block = hugetlb_luo_early_page(phys);

		if (!block || block->magic != HUGETLB_LUO_BLOCK_MAGIC ||
		    !block->nr_runs || block->nr_runs > HUGETLB_LUO_BLOCK_RUNS ||
		    block->csum != hugetlb_luo_block_csum(block))
			return false;

		for (i = 0; i < block->nr_runs; i++) {
			const struct hugetlb_luo_run_ser *run = &block->runs[i];

			if (!run->nr || run->nr > *left || (u64)run->frame + run->nr > end)
				return false;
			*left -= run->nr;
			for (n = 0; n < run->nr; n++) {
				int nid;

				pfn = hugetlb_luo_pfn(h, (unsigned long)run->frame + n);
				nid = memblock_search_pfn_nid(pfn, &start_pfn, &end_pfn);
				if (!hugetlb_luo_has_node(nid))
					return false;
				located[nid]++;
			}
		}
		phys = block->next;
	}

	return true;
}

/*
 * Find out on which nodes of this kernel the pages of @h lie. What is wrong with
 * the records is for the import to say. There is no memory to note down which ones
 * were seen. But who goes round in circles comes by @seen again, no later than after
 * three times as many records as there are.
 *
 * Return: true if all pages that were announced were found, and nothing else.
 */
static bool __init hugetlb_luo_locate(struct hstate *h)
{
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	unsigned int order = huge_page_order(h);
	u64 phys = root->files, seen = 0, left = 0, nr;
	u32 i;

	for (i = 0; i < root->nr_counts; i++)
		if (root->counts[i].order == order)
			left += root->counts[i].nr;

	for (nr = 0; phys && nr < root->nr_files; nr++) {
		const struct hugetlb_luo_file_ser *ser = hugetlb_luo_early_page(phys);

		if (!ser || ser->magic != HUGETLB_LUO_FILE_MAGIC ||
		    ser->version != HUGETLB_LUO_VERSION || phys == seen)
			return false;
		if (is_power_of_2(nr))
			seen = phys;
		phys = ser->next;
		if (ser->order != order)
			continue;
		if (ser->nr_counts > HUGETLB_LUO_FILE_COUNTS ||
		    ser->csum != hugetlb_luo_file_csum(ser) ||
		    !hugetlb_luo_locate_runs(h, ser->runs, &left) ||
		    !hugetlb_luo_locate_runs(h, ser->late, &left))
			return false;
	}

	/* A list that goes on has more than what was announced. */
	return !left && !phys;
}

/* Count @nr pages more on @nid, @surplus of which are surplus. */
static void hugetlb_luo_count(struct hstate *h, int nid, unsigned long nr,
			      unsigned long surplus)
{
	spin_lock_irq(&hugetlb_lock);
	h->nr_huge_pages += nr;
	h->nr_huge_pages_node[nid] += nr;
	h->surplus_huge_pages += surplus;
	h->surplus_huge_pages_node[nid] += surplus;
	h->max_huge_pages += nr - surplus;
	spin_unlock_irq(&hugetlb_lock);
}

/**
 * hugetlb_luo_boot_begin - reduce what is to be allocated by what comes
 * @h: The page size.
 *
 * Called before the pages that the command line asks for are allocated. If pages
 * of this size come from the previous kernel, max_huge_pages is set to what is
 * missing, and max_huge_pages_node to the node that it is missing on. Gigantic
 * pages come first, when only memblock knows about memory.
 */
void __init hugetlb_luo_boot_begin(struct hstate *h)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];
	const struct hugetlb_luo_root_ser *root = hugetlb_luo_in.root;
	unsigned long coming = 0;
	int nid;

	/* The other sizes are planned when the files have been checked. */
	if (hstate_is_gigantic(h) && root && root->nodes != hugetlb_luo_nodes)
		hugetlb_luo_in.is_located[hstate_index(h)] = hugetlb_luo_locate(h);

	plan->begun = true;
	plan->want = h->max_huge_pages;
	for_each_online_node(nid) {
		coming += hugetlb_luo_coming(h, nid);
		plan->want_node[nid] = h->max_huge_pages_node[nid];
		if (plan->want_node[nid])
			plan->by_node = true;
	}
	if (!coming)
		return;

	plan->reduced = true;
	if (plan->by_node) {
		for_each_online_node(nid) {
			unsigned int need = hugetlb_luo_gap(h, nid, plan->want_node[nid], true);

			h->max_huge_pages_node[nid] = need;
			plan->need += need;
		}
	} else if (plan->want > coming) {
		plan->need = plan->want - coming;
		hugetlb_luo_spread(h, plan->need, true, h->max_huge_pages_node);
	}
	h->max_huge_pages = plan->need;
}

/**
 * hugetlb_luo_boot_more - allocate on any node what was short on some
 * @h: The page size.
 *
 * Called after allocation by node. That is final if the command line asked for
 * it, but hugetlb_luo_boot_begin() also does it for the sake of balance.
 *
 * Return: true if max_huge_pages are to be allocated regardless of the node.
 */
bool __init hugetlb_luo_boot_more(struct hstate *h)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];

	if (plan->by_node || h->max_huge_pages >= plan->need)
		return false;

	if (hstate_is_gigantic(h)) {
		/* The allocation counts from zero. */
		plan->got = h->max_huge_pages;
		h->max_huge_pages = plan->need - plan->got;
	} else {
		/* It takes off what is in the pool. */
		h->max_huge_pages = plan->need;
	}

	return true;
}

/*
 * Pages that come to @nid and make more of those there than @want. Gigantic ones
 * were allocated before it was known for certain which ones come.
 */
static unsigned long __init hugetlb_luo_excess(struct hstate *h, int nid,
					       unsigned long want)
{
	unsigned long nr = hugetlb_luo_coming(h, nid);
	unsigned long total = nr + h->nr_huge_pages_node[nid];

	return total > want ? min(nr, total - want) : 0;
}

/* What has become of the command line's request, node by node. */
static void __init hugetlb_luo_boot_report(struct hstate *h,
					   const struct hugetlb_luo_plan *plan)
{
	int nid;

	pr_info("order %u: %lu pages asked for%s\n", huge_page_order(h),
		plan->want, plan->by_node ? ", by node" : "");
	for_each_online_node(nid) {
		unsigned long nr = hugetlb_luo_coming(h, nid);

		pr_info("order %u, node %d: %lu preserved pages in use, %u free, %lu allocated, %u surplus\n",
			huge_page_order(h), nid, nr, plan->free[nid],
			h->nr_huge_pages_node[nid] - nr - plan->free[nid],
			plan->surplus[nid]);
	}
}

/* Count the @coming pages of @h, which are in use, into its pool. */
static void __init hugetlb_luo_boot_count(struct hstate *h, unsigned long coming)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];
	unsigned long total = coming + h->nr_huge_pages;
	int nid;

	/* With hugetlb_cma= there may be none from the command line at boot. */
	if (!plan->begun) {
		plan->want = h->max_huge_pages;
		h->max_huge_pages = 0;
	}

	if (plan->by_node)
		for_each_online_node(nid)
			plan->surplus[nid] = hugetlb_luo_excess(h, nid, plan->want_node[nid]);
	else if (total > plan->want)
		hugetlb_luo_spread(h, min(coming, total - plan->want), false,
				   plan->surplus);

	for_each_online_node(nid)
		hugetlb_luo_count(h, nid, hugetlb_luo_coming(h, nid),
				  plan->surplus[nid]);
	/* These are in the pool already, and do not leave it by themselves. */
	h->max_huge_pages += plan->nr_free;
}

/*
 * Let go of a page that nobody has asked for. One with a memory error is kept out
 * of the pool for good by the reference that it has.
 */
void hugetlb_luo_let_go(struct hstate *h, struct folio *folio)
{
	if (folio_test_hwpoison(folio)) {
		spin_lock_irq(&hugetlb_lock);
		list_move_tail(&folio->lru, &h->hugepage_activelist);
		spin_unlock_irq(&hugetlb_lock);
	}
	folio_put(folio);
}

/*
 * Put the free pages of one record into the pool. This takes no memory that may
 * not be there: without it they would only keep all of their page structures.
 */
static void __init hugetlb_luo_boot_fill(struct hugetlb_luo_in_file *in,
					 struct hugetlb_luo_plan *plan)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	struct folio *folio;
	LIST_HEAD(folios);
	int nid;
	u32 n;

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		for (n = 0; n < run->nr; n++) {
			folio = kho_restore_folio(PFN_PHYS(hugetlb_luo_pfn(in->h, run->frame + n)));
			cond_resched();
			if (!folio)
				continue;
			init_new_hugetlb_folio(folio);
			folio_set_hugetlb_hwpoison(folio);
			in->node_pages[folio_nid(folio)]--;
			list_add_tail(&folio->lru, &folios);
			if (folio_test_hwpoison(folio)) {
				/* It comes, and is in use. */
				lruvec_stat_mod_folio(folio, NR_HUGETLB,
						      folio_nr_pages(folio));
				hugetlb_luo_let_go(in->h, folio);
				continue;
			}
			/* Pages of the pool have no reference. */
			WARN_ON_ONCE(!folio_ref_freeze(folio, 1));
			plan->coming[folio_nid(folio)]--;
			plan->free[folio_nid(folio)]++;
			plan->nr_free++;
		}
	}
	prep_and_add_allocated_folios(in->h, &folios);

	for_each_online_node(nid) {
		if (!in->node_pages[nid])
			continue;
		plan->coming[nid] -= in->node_pages[nid];
		hugetlb_luo_report_lost(huge_page_order(in->h), nid, in->node_pages[nid]);
	}
	hugetlb_luo_in_forget(in);
}

static void __init hugetlb_luo_boot_free(struct hstate *h,
					 struct hugetlb_luo_plan *plan)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;

	if (!hugetlb_luo_in.imported)
		return;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		if (!in->err && in->h == h && hugetlb_luo_is_free(in))
			hugetlb_luo_boot_fill(in, plan);
}

/* Reserve in the pool what the file has reserved, unless that is done. */
int hugetlb_luo_promise(struct hugetlb_luo_in_file *in)
{
	int err;

	if (in->promised)
		return 0;

	err = hugetlb_acct_memory(in->h, in->ser->nr_resv);
	in->promised = !err;

	return err;
}

/* Say how far the pool is from having @nr more pages to promise. */
void hugetlb_luo_promise_fails(struct hstate *h, u64 nr)
{
	u64 available = 0;

	spin_lock_irq(&hugetlb_lock);
	if (h->free_huge_pages > h->resv_huge_pages)
		available = h->free_huge_pages - h->resv_huge_pages;
	spin_unlock_irq(&hugetlb_lock);
	pr_warn("%llu more pages of order %u are needed for what preserved files have reserved\n",
		nr - min(nr, available), huge_page_order(h));
}

/* The same for all files of a page size, as far as there are free pages. */
void hugetlb_luo_promise_all(struct hstate *h)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	u64 missing = 0;

	xa_for_each(&hugetlb_luo_in.files, index, in)
		if (!in->err && in->h == h && hugetlb_luo_promise(in))
			missing += in->ser->nr_resv;
	if (missing)
		hugetlb_luo_promise_fails(h, missing);
}

/**
 * hugetlb_luo_boot_end - count the pages that come into their pool
 * @h: The page size.
 *
 * Free ones are put into it. The others are in use from now on, by files that
 * nobody has asked for yet. Those of them in excess of what the command line asks
 * for leave the pool when they get free. What that makes of the command line is
 * in the log. Of the pages that are free now, some are reserved by such files.
 */
void __init hugetlb_luo_boot_end(struct hstate *h)
{
	struct hugetlb_luo_plan *plan = &hugetlb_luo_plans[hstate_index(h)];
	unsigned long coming = 0;
	int nid;

	hugetlb_luo_boot_free(h, plan);
	for_each_online_node(nid)
		coming += hugetlb_luo_coming(h, nid);
	hugetlb_luo_in.counted = true;
	/*
	 * Also if none comes after all: those that it was planned with may have
	 * been refused since.
	 */
	h->max_huge_pages += plan->got;
	if (coming || plan->nr_free)
		hugetlb_luo_boot_count(h, coming);
	if (coming || plan->nr_free || plan->reduced)
		hugetlb_luo_boot_report(h, plan);
	if (hugetlb_luo_in.imported)
		hugetlb_luo_promise_all(h);
}

/*
 * Take @nr pages out of the count that were in it since boot and never came.
 *
 * Return: how many surplus pages were among them.
 */
unsigned long hugetlb_luo_uncount(struct hstate *h, int nid,
				  unsigned long nr)
{
	unsigned long surplus;

	spin_lock_irq(&hugetlb_lock);
	surplus = min_t(unsigned long, nr, h->surplus_huge_pages_node[nid]);
	h->nr_huge_pages -= nr;
	h->nr_huge_pages_node[nid] -= nr;
	h->surplus_huge_pages -= surplus;
	h->surplus_huge_pages_node[nid] -= surplus;
	h->max_huge_pages -= nr - surplus;
	spin_unlock_irq(&hugetlb_lock);

	return surplus;
}

/*
 * The same for all that turned out not to be claimable. What was counted on
 * another node than it lies on goes there, surplus as it was.
 */
void hugetlb_luo_discount(void)
{
	struct hstate *h;
	int nid;

	for_each_hstate(h) {
		unsigned int order = huge_page_order(h);
		unsigned long surplus = 0;

		for_each_online_node(nid) {
			unsigned long was = hugetlb_luo_expected(h, nid);
			unsigned long is = hugetlb_luo_claimable(order, nid);

			if (is < was)
				surplus += hugetlb_luo_uncount(h, nid, was - is);
		}
		for_each_online_node(nid) {
			unsigned long was = hugetlb_luo_expected(h, nid);
			unsigned long is = hugetlb_luo_claimable(order, nid);
			unsigned long share;

			if (is <= was)
				continue;
			share = min(surplus, is - was);
			hugetlb_luo_count(h, nid, is - was, share);
			surplus -= share;
		}
	}
}

/* So that filling the pools does not take longer the more files there are. */
static void __init hugetlb_luo_sum_up(void)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	int nid;

	xa_for_each(&hugetlb_luo_in.files, index, in) {
		if (in->err)
			continue;
		for_each_online_node(nid)
			hugetlb_luo_plans[hstate_index(in->h)].coming[nid] +=
				in->node_pages[nid];
	}
}

/**
 * hugetlb_luo_import - validate what the previous kernel has handed over
 *
 * Called when all page sizes are known and before the pools are filled. There may
 * be none, in which case all files are refused.
 */
void __init hugetlb_luo_import(void)
{
	struct hugetlb_luo_root_ser *empty = hugetlb_luo_in.empty_root;

	if (empty && kho_folio_preserved(virt_to_phys(empty),
					 get_order(hugetlb_luo_in.root_size)))
		kho_restore_free(empty);

	if (hugetlb_luo_do_import()) {
		pr_warn("no memory to check preserved files, trying again later\n");
	} else {
		hugetlb_luo_sum_up();
		hugetlb_luo_put_root();
	}
}
