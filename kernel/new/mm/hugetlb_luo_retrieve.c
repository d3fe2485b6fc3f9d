// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Files that come from the previous kernel: retrieving and finishing them.
 */

#define pr_fmt(fmt) "hugetlb_luo: " fmt

#include <linux/cgroup.h>
#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/hugetlb.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/lockdep.h>
#include <linux/memcontrol.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>
#include <uapi/linux/memfd.h>

#include "hugetlb_internal.h"
#include "hugetlb_luo_internal.h"

/*
 * struct hugetlb_luo_payer - who is charged for what an owner was charged for
 * @css:     By kind of charge, referenced, or NULL.
 * @nr:      Number of pages.
 * @charged: These kinds of charges were made for the pages.
 */
struct hugetlb_luo_payer {
	struct cgroup_subsys_state *css[HUGETLB_LUO_NR_CHARGES];
	u64 nr;
	bool charged[HUGETLB_LUO_NR_CHARGES];
};

/*
 * What LUO calls
 */

/*
 * Get the page at @frame, the nth of the file, from KHO unless an attempt
 * before this one did. It is in the pool's count already.
 */
static struct folio *hugetlb_luo_restore(struct hugetlb_luo_in_file *in, u64 n,
					 u32 frame)
{
	unsigned long pfn = hugetlb_luo_pfn(in->h, frame);
	struct folio *folio;

	if (n < in->restored)
		return pfn_folio(pfn);

	folio = kho_restore_folio(PFN_PHYS(pfn));
	if (!folio)
		return NULL;

	init_new_hugetlb_folio(folio);
	/* Nobody has access to it before that. */
	folio_set_hugetlb_hwpoison(folio);
	list_add_tail(&folio->lru, &in->folios);
	in->restored = n + 1;

	return folio;
}

/* KHO does not let go of this page after all. */
static void hugetlb_luo_lose(struct hugetlb_luo_in_file *in, u32 frame)
{
	struct page *page = pfn_to_page(hugetlb_luo_pfn(in->h, frame));

	hugetlb_luo_uncount(in->h, page_to_nid(page), 1);
}

/*
 * Give the pages of a file that nobody has asked for to the pool, and what was
 * reserved for it. Pages that KHO does not let go of stay where they are.
 *
 * Return: the number of these.
 */
static u64 hugetlb_luo_release(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	struct folio *folio, *next;
	u64 lost = 0, n = 0;
	u32 i;

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		for (i = 0; i < run->nr; i++) {
			u32 frame = run->frame + i;

			if (!hugetlb_luo_restore(in, n++, frame)) {
				hugetlb_luo_lose(in, frame);
				lost++;
			}
			cond_resched();
		}
	}

	list_for_each_entry_safe(folio, next, &in->folios, lru) {
		/* Freeing takes it off again. */
		lruvec_stat_mod_folio(folio, NR_HUGETLB, folio_nr_pages(folio));
		hugetlb_luo_let_go(in->h, folio);
		cond_resched();
	}
	if (in->promised)
		hugetlb_acct_memory(in->h, -(long)in->ser->nr_resv);
	if (lost)
		pr_err("%llu pages of a preserved file were not given back\n", lost);

	return lost;
}

/*
 * Make up for what there was no memory for at boot. Free pages were counted as
 * in use then, so this is where they get free.
 */
int hugetlb_luo_import_late(void)
{
	struct hugetlb_luo_in_file *in;
	unsigned long index;
	struct hstate *h;
	int err;

	lockdep_assert_held(&hugetlb_luo_in.lock);
	if (hugetlb_luo_in.imported)
		return 0;

	err = hugetlb_luo_do_import();
	if (err) {
		pr_err("no memory to check preserved files\n");
		return err;
	}
	if (hugetlb_luo_in.counted)
		hugetlb_luo_discount();
	hugetlb_luo_put_root();

	xa_for_each(&hugetlb_luo_in.files, index, in) {
		if (in->err || !hugetlb_luo_is_free(in))
			continue;
		if (hugetlb_luo_release(in))
			hugetlb_luo_in.quarantine = true;
		hugetlb_luo_in_forget(in);
	}
	for_each_hstate(h)
		hugetlb_luo_promise_all(h);

	return 0;
}

/*
 * Get the file with this record, until hugetlb_luo_in_put() or _done(). LUO has
 * no two operations on a file at a time, but where its own records are damaged
 * two of its files may be the same one.
 *
 * Return: the file, or ERR_PTR: -EAGAIN if there was no memory to check what was
 * handed over, or if somebody else has the file; -ENOENT if there is no such file;
 * what it was refused with.
 */
static struct hugetlb_luo_in_file *hugetlb_luo_in_get(u64 phys)
{
	struct hugetlb_luo_in_file *in;

	guard(mutex)(&hugetlb_luo_in.lock);

	if (hugetlb_luo_import_late())
		return ERR_PTR(-EAGAIN);

	in = xa_load(&hugetlb_luo_in.files, PHYS_PFN(phys));
	if (!in || virt_to_phys(in->ser) != phys || hugetlb_luo_is_free(in)) {
		pr_err("no preserved file has its record at %#llx\n", phys);
		/* A file, and no table: nobody knows which memory is its. */
		if (!hugetlb_luo_in.root_size)
			hugetlb_luo_in.quarantine = true;
		return ERR_PTR(-ENOENT);
	}
	if (in->err)
		return ERR_PTR(in->err);
	if (in->busy) {
		pr_err("preserved file is being retrieved, or finished, by another session\n");
		return ERR_PTR(-EAGAIN);
	}
	in->busy = true;

	return in;
}

static void hugetlb_luo_in_put(struct hugetlb_luo_in_file *in)
{
	guard(mutex)(&hugetlb_luo_in.lock);
	in->busy = false;
}

static void hugetlb_luo_in_done(struct hugetlb_luo_in_file *in)
{
	mutex_lock(&hugetlb_luo_in.lock);
	hugetlb_luo_in_forget(in);
	mutex_unlock(&hugetlb_luo_in.lock);
}

/*
 * Who is charged
 */

#ifdef CONFIG_CGROUPS
/* The controller of a kind of charge, NULL if there is none in this kernel. */
static struct cgroup_subsys *hugetlb_luo_subsys(unsigned int kind)
{
#ifdef CONFIG_CGROUP_HUGETLB
	if (kind != HUGETLB_LUO_MEMCG && !hugetlb_cgroup_disabled())
		return &hugetlb_cgrp_subsys;
#endif
#ifdef CONFIG_MEMCG
	if (kind == HUGETLB_LUO_MEMCG && !mem_cgroup_disabled())
		return &memory_cgrp_subsys;
#endif
	return NULL;
}

/*
 * The control group at @path, or else that of the task that retrieves the file.
 * The path is one in the hierarchy of the controller, whichever that is now.
 */
static struct cgroup_subsys_state *hugetlb_luo_find_css(unsigned int kind,
							const char *path)
{
	struct cgroup_subsys *ss = hugetlb_luo_subsys(kind);
	struct cgroup_subsys_state *css, *found;
	struct cgroup *cgrp;

	if (!ss || !*path)
		return NULL;

	css = task_get_css(current, ss->id);
	cgrp = cgroup_get_from_path_in(&css->cgroup->root->cgrp, path);
	if (IS_ERR(cgrp))
		return css;

	found = cgroup_get_e_css(cgrp, ss);
	cgroup_put(cgrp);
	css_put(css);

	return found;
}

static bool hugetlb_luo_css_online(struct cgroup_subsys_state *css)
{
	if (!css)
		return true;
	if (!css_tryget_online(css))
		return false;
	css_put(css);

	return true;
}

static void hugetlb_luo_report_limit(struct cgroup_subsys_state *css,
				     const char *limit)
{
	char *path = kmalloc(HUGETLB_LUO_PATH_SIZE, GFP_KERNEL);
	bool known = path &&
		     cgroup_path(css->cgroup, path, HUGETLB_LUO_PATH_SIZE) >= 0;

	pr_warn("no room for a preserved file, %s limit of control group %s\n",
		limit, known ? path : "(unknown)");
	kfree(path);
}
#else
static struct cgroup_subsys_state *hugetlb_luo_find_css(unsigned int kind,
							const char *path)
{
	return NULL;
}

static bool hugetlb_luo_css_online(struct cgroup_subsys_state *css)
{
	return true;
}

static void hugetlb_luo_report_limit(struct cgroup_subsys_state *css,
				     const char *limit)
{
}
#endif

/* Find out who is to be charged. */
static int hugetlb_luo_find_payers(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	u64 phys = in->ser->owners;
	unsigned int kind;

	in->payers = kvzalloc_objs(*in->payers, (size_t)in->ser->nr_owners + 1);
	if (!in->payers)
		return -ENOMEM;

	while (phys) {
		const struct hugetlb_luo_owner_ser *owner = phys_to_virt(phys);
		struct hugetlb_luo_payer *payer = &in->payers[owner->nr];

		for (kind = 0; kind < HUGETLB_LUO_NR_CHARGES; kind++)
			payer->css[kind] =
				hugetlb_luo_find_css(kind, owner->path[kind]);
		phys = owner->next;
		cond_resched();
	}

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor)))
		in->payers[run->owner].nr += run->nr;

	return 0;
}

static void hugetlb_luo_put_payers(struct hugetlb_luo_in_file *in)
{
	u32 nr;

	for (nr = 0; nr <= in->ser->nr_owners; nr++)
		hugetlb_luo_put_css(in->payers[nr].css);
	kvfree(in->payers);
	in->payers = NULL;
}

static struct hugetlb_cgroup *hugetlb_luo_h_cg(struct cgroup_subsys_state *css)
{
#ifdef CONFIG_CGROUP_HUGETLB
	return css ? container_of(css, struct hugetlb_cgroup, css) : NULL;
#else
	return NULL;
#endif
}

/* Charge for @nr pages in use, or for as many reservations. */
static int hugetlb_luo_charge(struct hugetlb_luo_in_file *in,
			      struct cgroup_subsys_state *css, u64 nr, bool rsvd)
{
	int err;

	err = hugetlb_cgroup_try_charge(hstate_index(in->h),
					nr * pages_per_huge_page(in->h),
					hugetlb_luo_h_cg(css), rsvd);
	if (err)
		hugetlb_luo_report_limit(css, rsvd ? "hugetlb rsvd" : "hugetlb");

	return err;
}

/* Take back what hugetlb_luo_charge_pages() charged for. */
static void hugetlb_luo_uncharge_pages(struct hugetlb_luo_in_file *in)
{
	int idx = hstate_index(in->h);
	u32 n;

	for (n = 0; n <= in->ser->nr_owners; n++) {
		struct hugetlb_luo_payer *payer = &in->payers[n];
		unsigned long nr = payer->nr * pages_per_huge_page(in->h);
		struct hugetlb_cgroup *h_cg;

		h_cg = hugetlb_luo_h_cg(payer->css[HUGETLB_LUO_USAGE]);
		if (payer->charged[HUGETLB_LUO_USAGE])
			hugetlb_cgroup_uncharge_cgroup(idx, nr, h_cg);
		h_cg = hugetlb_luo_h_cg(payer->css[HUGETLB_LUO_RSVD]);
		if (payer->charged[HUGETLB_LUO_RSVD])
			hugetlb_cgroup_uncharge_cgroup_rsvd(idx, nr, h_cg);
	}
}

/*
 * Charge hugetlb cgroups for all pages at once, before any page knows of it. Only
 * pages on the active list leave a hugetlb cgroup that is removed, which waits
 * for them meanwhile: hugetlb_luo_commit() should come next.
 */
static int hugetlb_luo_charge_pages(struct hugetlb_luo_in_file *in)
{
	unsigned int kind;
	int err;
	u32 n;

	for (n = 0; n <= in->ser->nr_owners; n++) {
		struct hugetlb_luo_payer *payer = &in->payers[n];

		for (kind = HUGETLB_LUO_USAGE; kind <= HUGETLB_LUO_RSVD; kind++) {
			if (!payer->nr || !payer->css[kind])
				continue;
			err = hugetlb_luo_charge(in, payer->css[kind], payer->nr,
						 kind == HUGETLB_LUO_RSVD);
			if (err)
				goto err_uncharge;
			payer->charged[kind] = true;
		}

		/* If it is gone already, nobody would take its pages over. */
		err = -ENODEV;
		if (!hugetlb_luo_css_online(payer->css[HUGETLB_LUO_USAGE]))
			goto err_uncharge;
	}

	return 0;

err_uncharge:
	hugetlb_luo_uncharge_pages(in);
	return err;
}

/* Each page has a reference to who is charged for its reservation now. */
static void hugetlb_luo_put_charges(struct hugetlb_luo_in_file *in)
{
	u32 n;

	for (n = 0; n <= in->ser->nr_owners; n++)
		if (in->payers[n].charged[HUGETLB_LUO_RSVD])
			css_put(in->payers[n].css[HUGETLB_LUO_RSVD]);
}

/* A page that is in the file now belongs to its payer. hugetlb_lock is held. */
static void hugetlb_luo_commit_charge(struct hugetlb_luo_in_file *in,
				      const struct hugetlb_luo_payer *payer,
				      struct folio *folio)
{
	struct cgroup_subsys_state *rsvd = payer->css[HUGETLB_LUO_RSVD];
	unsigned int nr = pages_per_huge_page(in->h);
	int idx = hstate_index(in->h);

	hugetlb_cgroup_commit_charge(idx, nr,
				     hugetlb_luo_h_cg(payer->css[HUGETLB_LUO_USAGE]),
				     folio);
	if (rsvd) {
		css_get(rsvd);
		hugetlb_cgroup_commit_charge_rsvd(idx, nr, hugetlb_luo_h_cg(rsvd),
						  folio);
	}
}

/*
 * Charge a memory cgroup for a page that is on its way into the file. Its share
 * in NR_HUGETLB goes along.
 */
static int hugetlb_luo_charge_memcg(struct hugetlb_luo_in_file *in,
				    struct folio *folio, u32 owner)
{
	struct cgroup_subsys_state *css = in->payers[owner].css[HUGETLB_LUO_MEMCG];
	struct mem_cgroup *old;
	int err = 0;

	if (css) {
		old = set_active_memcg(mem_cgroup_from_css(css));
		err = mem_cgroup_charge_hugetlb(folio, NULL,
						htlb_alloc_mask(in->h) |
						__GFP_RETRY_MAYFAIL);
		set_active_memcg(old);
	}
	if (err)
		hugetlb_luo_report_limit(css, "memory");
	else
		lruvec_stat_mod_folio(folio, NR_HUGETLB, folio_nr_pages(folio));

	return err;
}

static void hugetlb_luo_uncharge_memcg(struct folio *folio)
{
	lruvec_stat_mod_folio(folio, NR_HUGETLB, -(long)folio_nr_pages(folio));
	mem_cgroup_uncharge(folio);
}

/*
 * Retrieval
 */

static struct file *hugetlb_luo_make_file(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_file_ser *ser = in->ser;
	struct inode *inode;
	struct file *file;
	int err;

	file = memfd_alloc_file("", MFD_HUGETLB | MFD_ALLOW_SEALING |
				(huge_page_shift(in->h) << MFD_HUGE_SHIFT));
	if (IS_ERR(file))
		return file;

	/* F_SEAL_EXEC would add more seals to a file that can be executed. */
	inode = file_inode(file);
	inode->i_mode &= ~S_IALLUGO;
	err = memfd_add_seals(file, ser->seals);
	if (err) {
		fput(file);
		return ERR_PTR(err);
	}

	inode->i_mode |= ser->mode;
	i_size_write(inode, ser->size);
	vfs_setpos(file, ser->pos, MAX_LFS_FILESIZE);

	return file;
}

/* Add what is missing of a range, which @css is charged for if there is one. */
static int hugetlb_luo_add_region(struct hugetlb_luo_in_file *in,
				  struct file *file, u64 from, u64 to,
				  struct cgroup_subsys_state *css)
{
	struct resv_map *resv_map = HUGETLBFS_I(file_inode(file))->resv_map;
	struct hugetlb_cgroup *h_cg = hugetlb_luo_h_cg(css);
	long chg, needed, ret;

	if (from == to)
		return 0;

	chg = region_chg(resv_map, from, to, &needed);
	if (chg < 0)
		return chg;
	if (h_cg) {
		ret = hugetlb_luo_charge(in, css, chg, true);
		if (ret)
			goto err_abort;
	}

	ret = region_add(resv_map, from, to, needed, in->h, h_cg);
	if (ret < 0)
		goto err_uncharge;

	/* The regions have references of their own. */
	if (h_cg)
		hugetlb_cgroup_put_rsvd_cgroup(h_cg);

	return 0;

err_uncharge:
	hugetlb_cgroup_uncharge_cgroup_rsvd(hstate_index(in->h),
					    chg * pages_per_huge_page(in->h), h_cg);
err_abort:
	region_abort(resv_map, from, to, needed);
	return ret;
}

/*
 * Make the reservation map what it was. Everything that is reserved has its
 * region there. So has each page, which would be taken for reserved when it is
 * freed if it had none. If it was reserved before at somebody's charge, then that
 * is in the list of what is reserved.
 */
static int hugetlb_luo_fill_regions(struct hugetlb_luo_in_file *in,
				    struct file *file)
{
	struct hugetlb_luo_file_ser *ser = in->ser;
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	u64 from = 0, to = 0;
	int err;

	hugetlb_luo_walk_lists(&cursor, ser->resv, 0);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		err = hugetlb_luo_add_region(in, file, run->index,
					     (u64)run->index + run->nr,
					     in->payers[run->owner].css[HUGETLB_LUO_RSVD]);
		if (err)
			return err;
		cond_resched();
	}

	hugetlb_luo_walk(&cursor, ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		if (run->index > to) {
			err = hugetlb_luo_add_region(in, file, from, to, NULL);
			if (err)
				return err;
			from = run->index;
		}
		to = (u64)run->index + run->nr;
		cond_resched();
	}

	return hugetlb_luo_add_region(in, file, from, to, NULL);
}

/* Add one run. @filled counts the pages of the file. */
static int hugetlb_luo_fill_run(struct hugetlb_luo_in_file *in,
				struct file *file,
				const struct hugetlb_luo_run_ser *run,
				u64 *filled)
{
	struct folio *folio;
	int err;
	u32 n;

	for (n = 0; n < run->nr; n++) {
		folio = hugetlb_luo_restore(in, *filled, run->frame + n);
		if (!folio)
			return -EIO;

		err = hugetlb_luo_charge_memcg(in, folio, run->owner);
		if (err)
			return err;

		__folio_mark_uptodate(folio);
		err = hugetlb_add_to_page_cache(folio, file->f_mapping,
						run->index + n);
		if (err) {
			hugetlb_luo_uncharge_memcg(folio);
			return err;
		}
		folio_unlock(folio);
		(*filled)++;
		cond_resched();
	}

	return 0;
}

/* Take the first @filled pages out again. They keep the reference from KHO. */
static void hugetlb_luo_drain(struct hugetlb_luo_in_file *in,
			      struct file *file, u64 filled)
{
	struct folio *folio;

	list_for_each_entry(folio, &in->folios, lru) {
		if (!filled--)
			break;
		folio_lock(folio);
		folio_clear_dirty(folio);
		folio_clear_uptodate(folio);
		filemap_remove_folio(folio);
		folio_unlock(folio);
		hugetlb_luo_uncharge_memcg(folio);
		cond_resched();
	}

	region_del(HUGETLBFS_I(file_inode(file))->resv_map, 0, LONG_MAX);
}

/* The pages belong to the file now. */
static void hugetlb_luo_commit(struct hugetlb_luo_in_file *in)
{
	struct hugetlb_luo_run_ser *run = NULL;
	struct hugetlb_luo_cursor cursor;
	struct folio *folio, *next;
	unsigned int n = 0;
	u32 left = 0;

	hugetlb_luo_walk(&cursor, in->ser);
	spin_lock_irq(&hugetlb_lock);
	list_for_each_entry_safe(folio, next, &in->folios, lru) {
		if (!left--) {
			run = hugetlb_luo_next_run(&cursor);
			left = run->nr - 1;
		}
		hugetlb_luo_commit_charge(in, &in->payers[run->owner], folio);
		list_move_tail(&folio->lru, &in->h->hugepage_activelist);
		/* May be migrated, and gone for good, from here on. */
		if (!folio_test_hwpoison(folio))
			folio_set_hugetlb_migratable(folio);
		folio_put(folio);
		if (++n % 512 == 0) {
			spin_unlock_irq(&hugetlb_lock);
			cond_resched();
			spin_lock_irq(&hugetlb_lock);
		}
	}
	spin_unlock_irq(&hugetlb_lock);
	hugetlb_luo_put_charges(in);
}

/*
 * What LUO calls
 */

int hugetlb_luo_retrieve(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_cursor cursor;
	struct hugetlb_luo_run_ser *run;
	struct hugetlb_luo_in_file *in;
	struct file *file;
	u64 filled = 0;
	int err;

	in = hugetlb_luo_in_get(args->serialized_data);
	if (IS_ERR(in))
		return PTR_ERR(in);

	/* From here on it is kept, also if something else fails. */
	err = hugetlb_luo_promise(in);
	if (err) {
		hugetlb_luo_promise_fails(in->h, in->ser->nr_resv);
		goto err_again;
	}

	err = hugetlb_luo_find_payers(in);
	if (err)
		goto err_again;

	file = hugetlb_luo_make_file(in);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto err_put_payers;
	}

	err = hugetlb_luo_fill_regions(in, file);
	if (err)
		goto err_drain;

	hugetlb_luo_walk(&cursor, in->ser);
	while ((run = hugetlb_luo_next_run(&cursor))) {
		err = hugetlb_luo_fill_run(in, file, run, &filled);
		if (err)
			goto err_drain;
	}

	err = hugetlb_luo_charge_pages(in);
	if (err)
		goto err_drain;

	hugetlb_luo_commit(in);
	hugetlb_luo_put_payers(in);
	hugetlb_luo_in_done(in);
	args->file = file;

	return 0;

err_drain:
	hugetlb_luo_drain(in, file, filled);
	fput(file);
err_put_payers:
	hugetlb_luo_put_payers(in);
err_again:
	/* All is as it was, but for the promise: LUO may ask again. */
	hugetlb_luo_in_put(in);
	pr_warn("preserved file could not be restored: %pe\n", ERR_PTR(err));
	return -EAGAIN;
}

bool hugetlb_luo_can_finish(struct liveupdate_file_op_args *args)
{
	if (args->retrieve_status)
		return true;

	guard(mutex)(&hugetlb_luo_in.lock);

	/* Who does not know what there is cannot let go of it. */
	return !hugetlb_luo_import_late();
}

void hugetlb_luo_finish(struct liveupdate_file_op_args *args)
{
	struct hugetlb_luo_in_file *in;

	if (args->retrieve_status > 0)
		return;

	in = hugetlb_luo_in_get(args->serialized_data);
	if (IS_ERR(in))
		return;

	if (hugetlb_luo_release(in)) {
		mutex_lock(&hugetlb_luo_in.lock);
		hugetlb_luo_in.quarantine = true;
		mutex_unlock(&hugetlb_luo_in.lock);
	}
	hugetlb_luo_in_done(in);
}
