// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Files that are being preserved.
 */

#include <linux/cgroup.h>
#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/folio_batch.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/hugetlb_luo.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/lockdep.h>
#include <linux/memcontrol.h>
#include <linux/memfd.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "hugetlb_luo_internal.h"

/*
 * struct hugetlb_luo_owner - who is charged for some pages or reservations
 * @list:  In hugetlb_luo_file.owners.
 * @nr:    Its number in there, from 1 on.
 * @css:   By kind of charge, referenced, or NULL.
 * @ser:   Its record.
 * @stale: The record's checksum is not what it should be.
 */
struct hugetlb_luo_owner {
	struct list_head list;
	u32 nr;
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES];
	struct hugetlb_luo_owner_ser *ser;
	bool stale;
};

struct hugetlb_luo_out hugetlb_luo_out = {
	.lock = __MUTEX_INITIALIZER(hugetlb_luo_out.lock),
	.files = LIST_HEAD_INIT(hugetlb_luo_out.files),
	.errors_lock = __SPIN_LOCK_UNLOCKED(hugetlb_luo_out.errors_lock),
};

/*
 * Those who add a page to a file look up its struct hugetlb_luo_file under this.
 * They may sleep there for as long as the file is frozen. That is fine: nobody
 * waits for a grace period while any file is frozen.
 */
DEFINE_STATIC_SRCU(hugetlb_luo_srcu);

/*
 * Who is charged
 */

/* The charges of a page. They last for as long as the RCU read-side section. */
static void hugetlb_luo_folio_css(struct folio *folio,
				  struct cgroup_subsys_state **css)
{
#ifdef CONFIG_CGROUP_HUGETLB
	struct hugetlb_cgroup *h_cg = hugetlb_cgroup_from_folio(folio);
	struct hugetlb_cgroup *rsvd = hugetlb_cgroup_from_folio_rsvd(folio);

	css[HUGETLB_LUO_USAGE] = h_cg ? &h_cg->css : NULL;
	css[HUGETLB_LUO_RSVD] = rsvd ? &rsvd->css : NULL;
#endif
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg = folio_memcg(folio);

	css[HUGETLB_LUO_MEMCG] = memcg ? &memcg->css : NULL;
#endif
}

static struct cgroup_subsys_state *
hugetlb_luo_region_css(const struct file_region *region)
{
#ifdef CONFIG_CGROUP_HUGETLB
	return region->css;
#else
	return NULL;
#endif
}

void hugetlb_luo_put_css(struct cgroup_subsys_state **css)
{
	unsigned int kind;

	for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++)
		if (css[kind])
			css_put(css[kind]);
}

#ifdef CONFIG_CGROUPS
static bool hugetlb_luo_get_css(struct cgroup_subsys_state **css)
{
	unsigned int kind;

	for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++) {
		if (css[kind] && !css_tryget(css[kind])) {
			while (kind--)
				if (css[kind])
					css_put(css[kind]);
			return false;
		}
	}

	return true;
}

/* Write down the paths of those who are charged now, mostly the same as before. */
static int hugetlb_luo_seal_owner(struct hugetlb_luo_owner *owner)
{
	char path[HUGETLB_LUO_PATH_SIZE];
	unsigned int kind;
	int len, err = 0;

	for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++) {
		struct cgroup_subsys_state *css = owner->css[kind];

		if (!css)
			continue;
		/* One that was removed may be followed by another of its name. */
		while (css->parent && (css_is_dying(css) || !css_is_online(css)))
			css = css->parent;
		/* One that fills the buffer has been cut, for all that is known. */
		len = cgroup_path(css->cgroup, path, sizeof(path));
		if (len < 0 || len >= (int)sizeof(path) - 1) {
			err = -ENAMETOOLONG;
			break;
		}
		if (!strcmp(owner->ser->path[kind], path))
			continue;
		memset(owner->ser->path[kind], 0, sizeof(path));
		memcpy(owner->ser->path[kind], path, len + 1);
		owner->stale = true;
	}
	if (owner->stale)
		owner->ser->csum = hugetlb_luo_owner_csum(owner->ser);
	owner->stale = false;

	return err;
}
#else
static bool hugetlb_luo_get_css(struct cgroup_subsys_state **css)
{
	return true;
}

static int hugetlb_luo_seal_owner(struct hugetlb_luo_owner *owner)
{
	return 0;
}
#endif

static int hugetlb_luo_seal_owners(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_owner *owner;
	int err;

	list_for_each_entry(owner, &f->owners, list) {
		err = hugetlb_luo_seal_owner(owner);
		if (err)
			return err;
	}

	return 0;
}

static u32 hugetlb_luo_last_owner(struct hugetlb_luo_file *f)
{
	if (list_empty(&f->owners))
		return 0;

	return list_last_entry(&f->owners, struct hugetlb_luo_owner, list)->nr;
}

static u64 hugetlb_luo_owners_phys(struct hugetlb_luo_file *f)
{
	if (list_empty(&f->owners))
		return 0;

	return virt_to_phys(list_first_entry(&f->owners, struct hugetlb_luo_owner,
					     list)->ser);
}

/* Forget all owners but the first @nr ones. */
static void hugetlb_luo_trim_owners(struct hugetlb_luo_file *f, u32 nr)
{
	struct hugetlb_luo_owner *owner;

	while (!list_empty(&f->owners)) {
		owner = list_last_entry(&f->owners, struct hugetlb_luo_owner, list);
		if (owner->nr <= nr) {
			owner->stale |= !!owner->ser->next;
			owner->ser->next = 0;
			break;
		}
		list_del(&owner->list);
		hugetlb_luo_put_css(owner->css);
		kho_unpreserve_free(owner->ser);
		kfree(owner);
	}
}

/* Append one who has the references to @css from here on, also if that fails. */
static int hugetlb_luo_add_owner(struct hugetlb_luo_file *f,
				 struct cgroup_subsys_state **css, u32 *nr)
{
	struct hugetlb_luo_owner *owner, *last;
	int err = -ENOMEM;

	owner = kzalloc_obj(*owner);
	if (!owner)
		goto err_put;
	owner->ser = hugetlb_luo_alloc(sizeof(*owner->ser));
	if (IS_ERR(owner->ser)) {
		err = PTR_ERR(owner->ser);
		goto err_free;
	}

	memcpy(owner->css, css, sizeof(owner->css));
	owner->nr = hugetlb_luo_last_owner(f) + 1;
	owner->ser->magic = HUGETLB_LUO_OWNER_MAGIC;
	owner->ser->nr = owner->nr;
	if (!list_empty(&f->owners)) {
		last = list_last_entry(&f->owners, struct hugetlb_luo_owner, list);
		last->ser->next = virt_to_phys(owner->ser);
		last->stale = true;
	}
	list_add_tail(&owner->list, &f->owners);
	*nr = owner->nr;

	return 0;

err_free:
	kfree(owner);
err_put:
	hugetlb_luo_put_css(css);
	return err;
}

/* Is there an owner with these charges? What has none has number 0. */
static bool hugetlb_luo_find_owner(struct hugetlb_luo_file *f,
				   struct cgroup_subsys_state **css, u32 *nr)
{
	struct hugetlb_luo_owner *owner;

	*nr = 0;
	if (!memchr_inv(css, 0, HUGETLB_LUO_NR_CHARGES * sizeof(*css)))
		return true;

	/* The references that they have keep others from having the addresses. */
	list_for_each_entry(owner, &f->owners, list) {
		if (!memcmp(owner->css, css, sizeof(owner->css))) {
			*nr = owner->nr;
			return true;
		}
	}

	return false;
}

static int hugetlb_luo_folio_owner(struct hugetlb_luo_file *f,
				   struct folio *folio, u32 *nr)
{
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES] = {};
	bool found, got;

	/* One that goes away leaves its charges to its parent first. */
	do {
		guard(rcu)();
		hugetlb_luo_folio_css(folio, css);
		found = hugetlb_luo_find_owner(f, css, nr);
		got = found || hugetlb_luo_get_css(css);
	} while (!got);

	return found ? 0 : hugetlb_luo_add_owner(f, css, nr);
}

/* The same for a reservation that is charged to @rsvd, or to nobody. */
static int hugetlb_luo_region_owner(struct hugetlb_luo_file *f,
				    struct cgroup_subsys_state *rsvd, u32 *nr)
{
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES] = {
		[HUGETLB_LUO_RSVD] = rsvd,
	};

	if (hugetlb_luo_find_owner(f, css, nr))
		return 0;
	css_get(rsvd);

	return hugetlb_luo_add_owner(f, css, nr);
}

/*
 * Pages
 */

/* Refuse what the next kernel could not restore. */
static int hugetlb_luo_check_folio(struct folio *folio)
{
	/*
	 * Pinning has moved the page out of CMA areas, and scratch is one, but
	 * the next kernel will overwrite what is there: better to ask.
	 */
	if (kho_scratch_overlap(PFN_PHYS(folio_pfn(folio)), folio_size(folio)))
		return -EBUSY;

	if (!hugetlb_luo_is_early(folio_pfn(folio), folio_nr_pages(folio)))
		return -EOPNOTSUPP;

	if (folio_pfn(folio) >> folio_order(folio) > U32_MAX)
		return -EOVERFLOW;

	return 0;
}

static int hugetlb_luo_preserve_folio(struct folio *folio)
{
	int err = hugetlb_luo_check_folio(folio);

	return err ? err : kho_preserve_folio(folio);
}

/*
 * Is there one with a memory error among these pages, where it may not stay? It
 * cannot be moved either. Who asks for it to be pinned would wait for good.
 */
static bool hugetlb_luo_stuck(struct hugetlb_luo_file *f, pgoff_t index,
			      unsigned int nr)
{
	pgoff_t next = index << huge_page_order(f->h);
	pgoff_t last = ((index + nr) << huge_page_order(f->h)) - 1;
	struct folio_batch fbatch;
	bool stuck = false;
	unsigned int i;

	if (!READ_ONCE(hugetlb_luo_out.nr_errors))
		return false;

	folio_batch_init(&fbatch);
	filemap_get_folios(f->file->f_mapping, &next, last, &fbatch);
	for (i = 0; i < fbatch.nr; i++)
		if (folio_test_hwpoison(fbatch.folios[i]) &&
		    !folio_is_longterm_pinnable(fbatch.folios[i]))
			stuck = true;
	folio_batch_release(&fbatch);

	return stuck;
}

/*
 * Pin @nr pages from @index on, which are in the file and cannot leave it.
 * memfd_pin_folios() would fill holes, and so is only asked for pages that are
 * there.
 */
static int hugetlb_luo_pin(struct hugetlb_luo_file *f, pgoff_t index,
			   unsigned int nr, struct folio **folios)
{
	loff_t size = i_size_read(file_inode(f->file));
	loff_t start = (loff_t)index << huge_page_shift(f->h);
	loff_t end = start + ((loff_t)nr << huge_page_shift(f->h));
	pgoff_t offset;
	long ret;

	/* What the table has room for. */
	if (index + nr > U32_MAX)
		return -EFBIG;

	/* fallocate() can put pages beyond the end of the file. */
	if (round_up(size, huge_page_size(f->h)) < end)
		return -EOPNOTSUPP;

	if (hugetlb_luo_stuck(f, index, nr))
		return -EHWPOISON;

	ret = memfd_pin_folios(f->file, start, min(end, size) - 1, folios, nr,
			       &offset);
	if (ret < 0)
		return ret;
	if (WARN_ON_ONCE(ret != nr)) {
		unpin_folios(folios, ret);
		return -EIO;
	}

	return 0;
}

/*
 * Preserve @nr pages that are in the file, contiguous from @index on. If that
 * fails, those in @table are left to the caller.
 */
static int hugetlb_luo_preserve_range(struct hugetlb_luo_file *f,
				      struct hugetlb_luo_table *table,
				      pgoff_t index, unsigned int nr)
{
	struct folio *folios[FOLIO_BATCH_SIZE];
	unsigned int i;
	u32 owner;
	int err;

	err = hugetlb_luo_pin(f, index, nr, folios);
	if (err)
		return err;

	for (i = 0; i < nr; i++) {
		struct folio *folio = folios[i];

		err = hugetlb_luo_folio_owner(f, folio, &owner);
		if (err)
			goto err_unpin;

		err = hugetlb_luo_preserve_folio(folio);
		if (err)
			goto err_unpin;

		err = hugetlb_luo_table_add(table, index + i,
					    folio_pfn(folio) >>
					    huge_page_order(f->h), owner);
		if (err) {
			kho_unpreserve_folio(folio);
			goto err_unpin;
		}

		f->nr_pages++;
		f->node_pages[folio_nid(folio)]++;
	}

	return 0;

err_unpin:
	unpin_folios(folios + i, nr - i);
	return err;
}

/* Preserve all pages that are in the file. */
static int hugetlb_luo_preserve_pages(struct hugetlb_luo_file *f)
{
	struct address_space *mapping = f->file->f_mapping;
	unsigned int order = huge_page_order(f->h);
	pgoff_t index[FOLIO_BATCH_SIZE];
	struct folio_batch fbatch;
	unsigned int i, nr, run;
	pgoff_t next = 0;
	int err;

	folio_batch_init(&fbatch);
	for (;;) {
		/*
		 * Pages below @next_index are either seen here or were added
		 * after it was moved, which makes them late pages.
		 */
		mutex_lock(&f->lock);
		nr = filemap_get_folios(mapping, &next, ULONG_MAX, &fbatch);
		for (i = 0; i < nr; i++)
			index[i] = fbatch.folios[i]->index >> order;
		f->next_index = nr ? index[nr - 1] + 1 : ULONG_MAX;
		/* Not what it says, which is the end once it sees no more. */
		next = f->next_index << order;
		mutex_unlock(&f->lock);

		/* A reference would be in the way of migration. */
		folio_batch_release(&fbatch);
		if (!nr)
			return 0;

		for (i = 0; i < nr; i += run) {
			for (run = 1; i + run < nr; run++)
				if (index[i + run] != index[i] + run)
					break;

			err = hugetlb_luo_preserve_range(f, &f->table, index[i],
							 run);
			if (err)
				return err;
		}
		cond_resched();
	}
}

/* Let go of all pages in @table, and of the table. */
static void hugetlb_luo_unpreserve_table(struct hugetlb_luo_file *f,
					 struct hugetlb_luo_table *table)
{
	struct hugetlb_luo_cursor cursor = { { table->first } };
	struct hugetlb_luo_run_ser *run;
	struct folio *folio;
	u32 n;

	while ((run = hugetlb_luo_next_run(&cursor))) {
		for (n = 0; n < run->nr; n++) {
			folio = pfn_folio(hugetlb_luo_pfn(f->h, run->frame + n));
			f->nr_pages--;
			f->node_pages[folio_nid(folio)]--;
			kho_unpreserve_folio(folio);
			unpin_folio(folio);
		}
	}
	hugetlb_luo_table_free(table);
}

/*
 * Reservations
 */

/*
 * Some of a reservation map: from @from up to and without @to. The hugetlb cgroup
 * that is charged for it is referenced.
 */
struct hugetlb_luo_range {
	long from;
	long to;
	struct cgroup_subsys_state *css;
};

/*
 * Copy up to @nr regions of @resv_map to @ranges, without what is in front of
 * @from, or only count them if @ranges is NULL.
 *
 * Return: their number.
 */
static long hugetlb_luo_get_regions(struct resv_map *resv_map, long from,
				    struct hugetlb_luo_range *ranges, long nr)
{
	const struct file_region *region;
	long n = 0;

	guard(spinlock)(&resv_map->lock);
	list_for_each_entry(region, &resv_map->regions, link) {
		if (region->to <= from)
			continue;
		if (n == nr)
			break;
		if (ranges) {
			ranges[n].from = max(region->from, from);
			ranges[n].to = region->to;
			ranges[n].css = hugetlb_luo_region_css(region);
			if (ranges[n].css)
				css_get(ranges[n].css);
		}
		n++;
	}

	return n;
}

static int hugetlb_luo_reserve_run(struct hugetlb_luo_file *f, u64 from, u64 to,
				   u32 owner)
{
	u64 size = i_size_read(file_inode(f->file));
	int err;

	if (to > U32_MAX)
		return -EFBIG;

	/* A mapping that is only read can have it there. As with pages. */
	if (to > hugetlb_luo_end_index(f->h, size))
		return -EOPNOTSUPP;

	err = hugetlb_luo_table_add_run(&f->resv, from, to - from, 0, owner);
	if (!err)
		f->nr_resv += to - from;

	return err;
}

/*
 * Take down all of @range if somebody is charged for it, else what is not in the
 * table of pages. @cursor follows that.
 */
static int hugetlb_luo_reserve_range(struct hugetlb_luo_file *f,
				     struct hugetlb_luo_cursor *cursor,
				     const struct hugetlb_luo_range *range)
{
	u64 from = range->from, to = range->to, end;
	struct hugetlb_luo_run_ser *run;
	u32 owner;
	int err;

	if (range->css) {
		err = hugetlb_luo_region_owner(f, range->css, &owner);

		return err ? err : hugetlb_luo_reserve_run(f, from, to, owner);
	}

	while (from < to) {
		run = hugetlb_luo_peek_run(cursor, 0);
		if (!run || run->index >= to)
			return hugetlb_luo_reserve_run(f, from, to, 0);

		if (run->index > from) {
			err = hugetlb_luo_reserve_run(f, from, run->index, 0);
			if (err)
				return err;
		}

		end = (u64)run->index + run->nr;
		if (end > to)
			return 0;
		from = max(from, end);
		cursor->i[0]++;
	}

	return 0;
}

/*
 * Take down what is reserved and not in the table of pages, and who is charged
 * for reservations. Of those who change the reservation map only such are left
 * that are about to add a page. Should that one be taken down here, freeze()
 * finds it among the late pages.
 */
static int hugetlb_luo_preserve_regions(struct hugetlb_luo_file *f)
{
	struct resv_map *resv_map = HUGETLBFS_I(file_inode(f->file))->resv_map;
	struct hugetlb_luo_cursor cursor = { { f->table.first } };
	struct hugetlb_luo_range *ranges;
	long from = 0, nr, n;
	int err;

	for (;;) {
		/* Memory cannot be allocated under the lock of the map. */
		nr = hugetlb_luo_get_regions(resv_map, from, NULL, LONG_MAX);
		if (!nr)
			break;
		ranges = kvmalloc_objs(*ranges, nr);
		if (!ranges)
			return -ENOMEM;

		nr = hugetlb_luo_get_regions(resv_map, from, ranges, nr);
		for (n = 0, err = 0; n < nr; n++) {
			if (!err)
				err = hugetlb_luo_reserve_range(f, &cursor, &ranges[n]);
			if (ranges[n].css)
				css_put(ranges[n].css);
			from = ranges[n].to;
			cond_resched();
		}
		kvfree(ranges);
		if (err)
			return err;
	}

	f->nr_resv -= hugetlb_luo_common(hugetlb_luo_table_phys(&f->resv),
					 hugetlb_luo_table_phys(&f->table));

	return 0;
}

/*
 * Late pages
 */

/*
 * Move late pages that cannot stay where they are, those in CMA areas, while
 * nobody has to wait for us. A page is not unmapped, and so not moved, as long as
 * a fault elsewhere in the mapping waits. What cannot be moved now is left for
 * hugetlb_luo_preserve_late() to fail.
 */
static void hugetlb_luo_move_late(struct hugetlb_luo_file *f)
{
	struct folio_batch fbatch;
	struct folio *folio;
	unsigned long index;
	unsigned int nr;
	pgoff_t next;
	void *entry;

	folio_batch_init(&fbatch);
	xa_for_each(&f->late, index, entry) {
		/* The index may be there before its page; a page stays. */
		next = index << huge_page_order(f->h);
		nr = filemap_get_folios(f->file->f_mapping, &next, next, &fbatch);
		folio_batch_release(&fbatch);

		if (nr && !hugetlb_luo_pin(f, index, 1, &folio))
			unpin_folio(folio);
	}
}

/* Let go of the late pages, and of the owners that came with them. */
static void hugetlb_luo_drop_late(struct hugetlb_luo_file *f)
{
	hugetlb_luo_unpreserve_table(f, &f->late_table);
	hugetlb_luo_trim_owners(f, f->nr_owners);
}

/*
 * Preserve the late pages as well. This, and finding out which of them were
 * reserved, is the one part of freezing that is not done in constant time for a
 * file, but there are late pages only if holes were filled while the update was
 * under way.
 */
static int hugetlb_luo_preserve_late(struct hugetlb_luo_file *f)
{
	unsigned long index;
	void *entry;
	int err;

	xa_for_each(&f->late, index, entry) {
		err = hugetlb_luo_preserve_range(f, &f->late_table, index, 1);
		if (err) {
			hugetlb_luo_drop_late(f);
			return err;
		}
	}
	hugetlb_luo_table_seal(&f->late_table);

	return 0;
}

/* Add a page to a file that is being preserved, now or once it is thawed. */
static int hugetlb_luo_add_late(struct hugetlb_luo_file *f,
				struct address_space *mapping,
				struct folio *folio, pgoff_t idx)
{
	unsigned long index = idx >> huge_page_order(f->h);
	void *was = NULL;
	bool late;
	int err;

	for (;;) {
		/*
		 * The caller holds the fault mutex of the index, so others may
		 * have to wait along, with locks of their own. None of these is
		 * waited for by freezing other files or by an abort.
		 */
		if (wait_event_killable(f->thaw, !READ_ONCE(f->frozen)))
			return -EINTR;
		mutex_lock(&f->lock);
		if (!f->frozen)
			break;
		mutex_unlock(&f->lock);
	}

	late = index < f->next_index;
	if (late) {
		was = xa_store(&f->late, index, xa_mk_value(0), GFP_KERNEL);
		err = xa_err(was);
		if (err)
			goto out_unlock;
	}

	err = __filemap_add_folio(mapping, folio, idx, GFP_KERNEL, NULL);
	/* There may be a late page already, if somebody else was faster. */
	if (err && late && !was)
		xa_erase(&f->late, index);

out_unlock:
	mutex_unlock(&f->lock);
	return err;
}

/**
 * hugetlb_luo_add_folio - put a new page into the page cache of a file
 * @mapping: The file's mapping.
 * @folio:   The page.
 * @idx:     Its index in units of PAGE_SIZE.
 *
 * Stands in for __filemap_add_folio() on behalf of hugetlb_add_to_page_cache().
 * Waits if the file is frozen for a live update that may yet be aborted.
 *
 * Context: Process context, may sleep. The caller holds the fault mutex.
 * Return: 0 on success, -EINTR if the task was killed while it waited, or an
 * error of __filemap_add_folio().
 */
int hugetlb_luo_add_folio(struct address_space *mapping, struct folio *folio,
			  pgoff_t idx)
{
	struct hugetlb_luo_file *f;
	int srcu_idx, err;

	srcu_idx = srcu_read_lock(&hugetlb_luo_srcu);
	f = srcu_dereference(HUGETLBFS_I(mapping->host)->luo_file,
			     &hugetlb_luo_srcu);
	if (f)
		err = hugetlb_luo_add_late(f, mapping, folio, idx);
	else
		err = __filemap_add_folio(mapping, folio, idx, GFP_KERNEL, NULL);
	srcu_read_unlock(&hugetlb_luo_srcu, srcu_idx);

	return err;
}

/**
 * hugetlb_luo_may_resize - may the size change, or pages be taken out
 * @inode: The file's inode, locked.
 *
 * Return: 0, or -EPERM while the file is being preserved.
 */
int hugetlb_luo_may_resize(struct inode *inode)
{
	return rcu_access_pointer(HUGETLBFS_I(inode)->luo_file) ? -EPERM : 0;
}

/**
 * hugetlb_luo_may_reserve - may more indices of a file be reserved
 * @inode: The file's inode.
 * @chg:   How many, or a negative error.
 *
 * What is reserved was recorded when the file was preserved.
 *
 * Return: 0, or -EBUSY if @chg is above zero while the file is being preserved.
 */
int hugetlb_luo_may_reserve(struct inode *inode, long chg)
{
	if (chg <= 0)
		return 0;

	return rcu_access_pointer(HUGETLBFS_I(inode)->luo_file) ? -EBUSY : 0;
}

/**
 * hugetlb_luo_may_seal - may seals be added to a file
 * @file: The memfd, its inode locked.
 *
 * Return: 0, or -EBUSY after the file's seals were handed over.
 */
int hugetlb_luo_may_seal(struct file *file)
{
	struct hugetlb_luo_file *f;
	int srcu_idx, err = 0;

	if (!is_file_hugepages(file))
		return 0;

	srcu_idx = srcu_read_lock(&hugetlb_luo_srcu);
	f = srcu_dereference(HUGETLBFS_I(file_inode(file))->luo_file,
			     &hugetlb_luo_srcu);
	if (f && READ_ONCE(f->frozen))
		err = -EBUSY;
	srcu_read_unlock(&hugetlb_luo_srcu, srcu_idx);

	return err;
}

/*
 * Memory errors
 */

/**
 * hugetlb_luo_error - a huge page got a memory error
 * @page: The base page with the error.
 * @nr:   1, or the number of base pages of the huge page, whose first one @page
 *        is then, if it is not known which of them have errors.
 *
 * Context: Any, and under hugetlb_lock.
 */
void hugetlb_luo_error(struct page *page, unsigned long nr)
{
	struct hugetlb_luo_error_ser error = {
		.addr = PFN_PHYS(page_to_pfn(page)),
		.nr = nr,
	};
	struct hugetlb_luo_error_ser *errors;
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&hugetlb_luo_out.errors_lock, flags);
	errors = hugetlb_luo_out.errors ?: hugetlb_luo_out.early_errors;
	n = hugetlb_luo_out.nr_errors;
	if (n == HUGETLB_LUO_ERRORS)
		goto unlock;

	errors[n].nr = error.nr;
	errors[n].csum = hugetlb_luo_error_csum(&error);
	/* The CPU may be stopped anywhere: there is a whole entry, or none. */
	smp_wmb();
	WRITE_ONCE(errors[n].addr, error.addr);
	WRITE_ONCE(hugetlb_luo_out.nr_errors, n + 1);
unlock:
	spin_unlock_irqrestore(&hugetlb_luo_out.errors_lock, flags);
}

/* Give the list its place, with the errors that there have been before. */
void __init hugetlb_luo_start_errors(struct hugetlb_luo_error_ser *errors)
{
	unsigned int i;

	spin_lock_irq(&hugetlb_luo_out.errors_lock);
	for (i = 0; i < HUGETLB_LUO_EARLY_ERRORS; i++)
		errors[i] = hugetlb_luo_out.early_errors[i];
	hugetlb_luo_out.errors = errors;
	spin_unlock_irq(&hugetlb_luo_out.errors_lock);
}

/* Is every error written down, and is there room for some that are to come? */
bool hugetlb_luo_knows_errors(void)
{
	return READ_ONCE(hugetlb_luo_out.nr_errors) <= HUGETLB_LUO_ERRORS / 2;
}

/*
 * What LUO calls
 */

bool hugetlb_luo_can_preserve(struct liveupdate_file_handler *handler,
			      struct file *file)
{
	struct inode *inode = file_inode(file);

	/*
	 * memfds live in the kernel's own mounts. So do SysV shared memory
	 * segments, which are marked private, and have a name of their own.
	 */
	return hugetlb_luo_out.root && is_file_hugepages(file) &&
	       !inode->i_nlink &&
	       !(inode->i_flags & S_PRIVATE) &&
	       (inode->i_sb->s_flags & SB_KERNMOUNT);
}

unsigned long hugetlb_luo_get_id(struct file *file)
{
	return (unsigned long)file_inode(file);
}

/* Without @file it is about the free pages of @h. */
struct hugetlb_luo_file *hugetlb_luo_file_alloc(struct file *file,
						struct hstate *h)
{
	struct hugetlb_luo_file_ser *ser;
	struct hugetlb_luo_file *f;

	f = kzalloc_flex(*f, node_pages, nr_node_ids);
	if (!f)
		return ERR_PTR(-ENOMEM);

	ser = hugetlb_luo_alloc(PAGE_SIZE);
	if (IS_ERR(ser)) {
		kfree(f);
		return ERR_CAST(ser);
	}

	f->file = file;
	f->h = h;
	f->ser = ser;
	INIT_LIST_HEAD(&f->owners);
	mutex_init(&f->lock);
	xa_init(&f->late);
	init_waitqueue_head(&f->thaw);

	ser->magic = HUGETLB_LUO_FILE_MAGIC;
	ser->version = HUGETLB_LUO_VERSION;
	ser->order = huge_page_order(f->h);

	return f;
}

/* Let go of the file and of all of its pages. The inode is locked. */
static void hugetlb_luo_file_release(struct hugetlb_luo_file *f)
{
	struct inode *inode = file_inode(f->file);

	lockdep_assert_held_write(&inode->i_rwsem);
	rcu_assign_pointer(HUGETLBFS_I(inode)->luo_file, NULL);
	synchronize_srcu(&hugetlb_luo_srcu);

	hugetlb_luo_unpreserve_table(f, &f->table);
	hugetlb_luo_table_free(&f->resv);
	hugetlb_luo_trim_owners(f, 0);
	xa_destroy(&f->late);
	kho_unpreserve_free(f->ser);
	mutex_destroy(&f->lock);
	kfree(f);
}

int hugetlb_luo_preserve(struct liveupdate_file_op_args *args)
{
	struct file *file = args->file;
	struct inode *inode = file_inode(file);
	struct hugetlb_luo_file *f;
	int err;

	/* The file comes back writable. */
	if (!(file->f_mode & FMODE_WRITE))
		return -EACCES;

	if (!hugetlb_luo_knows_errors())
		return -EHWPOISON;

	inode_lock(inode);
	f = hugetlb_luo_file_alloc(file, hstate_file(file));
	if (IS_ERR(f)) {
		err = PTR_ERR(f);
		goto err_unlock;
	}

	rcu_assign_pointer(HUGETLBFS_I(inode)->luo_file, f);
	/* From here on whoever adds a page knows about it. */
	synchronize_srcu(&hugetlb_luo_srcu);

	err = hugetlb_luo_preserve_pages(f);
	if (err)
		goto err_release;

	err = hugetlb_luo_preserve_regions(f);
	if (err)
		goto err_release;

	/* This is to find out now whether the paths fit. */
	err = hugetlb_luo_seal_owners(f);
	if (err)
		goto err_release;

	f->nr_owners = hugetlb_luo_last_owner(f);
	hugetlb_luo_table_seal(&f->table);
	hugetlb_luo_table_seal(&f->resv);
	inode_unlock(inode);

	args->private_data = f;
	args->serialized_data = virt_to_phys(f->ser);

	return 0;

err_release:
	hugetlb_luo_file_release(f);
err_unlock:
	inode_unlock(inode);
	return err;
}

void hugetlb_luo_unpreserve(struct liveupdate_file_op_args *args)
{
	struct inode *inode = file_inode(args->file);

	inode_lock(inode);
	hugetlb_luo_file_release(args->private_data);
	inode_unlock(inode);
}

/* Account for the pages of @f in what the next kernel reads first. */
static void hugetlb_luo_root_count(struct hugetlb_luo_file *f, bool add)
{
	struct hugetlb_luo_count_ser *count = hugetlb_luo_out.root->counts;
	unsigned int nid;

	lockdep_assert_held(&hugetlb_luo_out.lock);

	count += hugetlb_luo_rank(f->h) * nr_node_ids;
	for (nid = 0; nid < nr_node_ids; nid++, count++) {
		if (add)
			count->nr += f->node_pages[nid];
		else
			count->nr -= f->node_pages[nid];
	}
}

void hugetlb_luo_publish(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_root_ser *root = hugetlb_luo_out.root;

	guard(mutex)(&hugetlb_luo_out.lock);

	f->ser->next = root->files;
	f->ser->csum = hugetlb_luo_file_csum(f->ser);
	root->files = virt_to_phys(f->ser);
	root->nr_files++;
	hugetlb_luo_root_count(f, true);
	root->csum = hugetlb_luo_root_csum(root);
	list_add(&f->list, &hugetlb_luo_out.files);
}

static void hugetlb_luo_withdraw(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_root_ser *root = hugetlb_luo_out.root;
	struct hugetlb_luo_file *prev;

	guard(mutex)(&hugetlb_luo_out.lock);

	if (list_is_first(&f->list, &hugetlb_luo_out.files)) {
		root->files = f->ser->next;
	} else {
		prev = list_prev_entry(f, list);
		prev->ser->next = f->ser->next;
		prev->ser->csum = hugetlb_luo_file_csum(prev->ser);
	}
	root->nr_files--;
	hugetlb_luo_root_count(f, false);
	root->csum = hugetlb_luo_root_csum(root);
	list_del(&f->list);
}

/* Write down how many pages there are, and on which nodes. */
int hugetlb_luo_fill_counts(struct hugetlb_luo_file *f)
{
	struct hugetlb_luo_file_ser *ser = f->ser;
	unsigned int nid;

	ser->nr_pages = f->nr_pages;
	ser->nr_counts = 0;
	for (nid = 0; nid < nr_node_ids; nid++) {
		struct hugetlb_luo_count_ser *count;

		if (!f->node_pages[nid])
			continue;
		if (ser->nr_counts == HUGETLB_LUO_FILE_COUNTS)
			return -E2BIG;
		count = &ser->counts[ser->nr_counts++];
		count->order = huge_page_order(f->h);
		count->nid = nid;
		count->nr = f->node_pages[nid];
	}

	return 0;
}

int hugetlb_luo_freeze(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_file *f = args->private_data;
	struct inode *inode = file_inode(args->file);
	struct hugetlb_luo_file_ser *ser = f->ser;
	int err;

	if (!hugetlb_luo_knows_errors())
		return -EHWPOISON;

	/*
	 * Seals are added under the inode lock. But fallocate() may hold it and
	 * wait for a fault mutex, and that for a fault into another file, which
	 * is frozen already. Waiting for it here would be for good.
	 */
	if (!inode_trylock(inode))
		return -EBUSY;
	hugetlb_luo_move_late(f);
	mutex_lock(&f->lock);

	err = hugetlb_luo_preserve_late(f);
	if (err)
		goto out_unlock;

	err = hugetlb_luo_seal_owners(f);
	if (!err)
		err = hugetlb_luo_fill_counts(f);
	if (err) {
		hugetlb_luo_drop_late(f);
		goto out_unlock;
	}

	ser->runs = hugetlb_luo_table_phys(&f->table);
	ser->late = hugetlb_luo_table_phys(&f->late_table);
	ser->resv = hugetlb_luo_table_phys(&f->resv);
	ser->owners = hugetlb_luo_owners_phys(f);
	ser->nr_owners = hugetlb_luo_last_owner(f);
	/* Late pages have used up what was reserved for them. */
	ser->nr_resv = f->nr_resv - hugetlb_luo_common(ser->resv, ser->late);
	ser->size = i_size_read(inode);
	ser->pos = args->file->f_pos;
	ser->seals = memfd_get_seals(args->file);
	ser->mode = inode->i_mode & S_IALLUGO;
	hugetlb_luo_publish(f);
	WRITE_ONCE(f->frozen, true);

out_unlock:
	mutex_unlock(&f->lock);
	inode_unlock(inode);
	return err;
}

void hugetlb_luo_unfreeze(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_file *f = args->private_data;

	hugetlb_luo_withdraw(f);

	/* No inode lock: fallocate() may wait for us under it. */
	mutex_lock(&f->lock);
	hugetlb_luo_drop_late(f);
	WRITE_ONCE(f->frozen, false);
	mutex_unlock(&f->lock);
	wake_up_all(&f->thaw);
}
